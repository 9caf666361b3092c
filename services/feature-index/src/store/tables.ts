import { type ClickHouse, onCluster, type ShardLayout } from "@mistral-sae/clickhouse";

/** Database of the tables; the views that users see lie in a database of their own. */
export const TABLES_DATABASE = "mistral_sae";
export const VIEWS_DATABASE = "sae";
/** In a cluster: database of the tables that hold rows, on each server; those in TABLES_DATABASE are names for all of them. */
export const SHARD_DATABASE = "mistral_sae_shard";

const table = <Name extends string>(name: Name) => `${TABLES_DATABASE}.${name}` as const;

/** Full names of the tables. */
export const T = {
  documents: table("documents"),
  sequences: table("sequences"),
  vocabularies: table("vocabularies"),
  postings: table("postings"),
  sampledCodes: table("sampled_codes"),
  ingestTails: table("ingest_tails"),
  stagedStats: table("staged_stats"),
  stagedCoactivations: table("staged_coactivations"),
  stagedWeights: table("staged_weights"),
  stagedNearMisses: table("staged_near_misses"),
  stagedGiven: table("staged_given"),
  stagedExamples: table("staged_examples"),
  stagedActivations: table("staged_activations"),
  features: table("features"),
  featureExamples: table("feature_examples"),
  featurePages: table("feature_pages"),
  nearMisses: table("near_misses"),
  tokenFeatures: table("token_features"),
  logitFeatures: table("logit_features"),
  tokenCounts: table("token_counts"),
  importedRows: table("imported_rows"),
  explanations: table("explanations"),
  explanationVectors: table("explanation_vectors"),
  tokenVectors: table("token_vectors"),
  featureVectors: table("feature_vectors"),
  vectorSpaces: table("vector_spaces"),
  indexNames: table("index_names"),
  corpusNames: table("corpus_names"),
  trainingMetrics: table("training_metrics"),
} as const;

/** Tables whose rows belong to one corpus, by corpus_id. */
export const CORPUS_TABLES = ["documents", "sequences"] as const;

/** Tables whose rows belong to one index, by index_id. */
export const INDEX_TABLES = ["postings", "sampled_codes", "features", "feature_examples", "feature_pages", "near_misses", "token_features", "logit_features", "token_counts", "imported_rows"] as const;

/** Tables that hold parts of features while an index is built, and nothing of it afterwards. */
export const STAGED_TABLES = ["ingest_tails", "staged_stats", "staged_coactivations", "staged_weights", "staged_given", "staged_examples", "staged_activations", "staged_near_misses"] as const;

/** Tables that lead from tokens to features. */
export const INVERTED_TABLES = ["token_features", "logit_features"] as const;

/** Tables of an index's own vectors, by index_id: computed from its features, so no part of what an index is. */
export const VECTOR_TABLES = ["token_vectors", "feature_vectors", "vector_spaces"] as const;

/** Tables whose rows belong to one SAE, by sae_id, with a partition each. */
export const SAE_TABLES = ["explanation_vectors"] as const;

/** Tables that building fills from the postings. */
export const BUILT_TABLES = ["features", "feature_examples", "feature_pages", "near_misses", ...INVERTED_TABLES, "token_counts", "staged_stats", "staged_coactivations", "staged_weights"] as const;

type NameOf<Table> = Table extends `${string}.${infer Name}` ? Name : never;
type TableName = NameOf<(typeof T)[keyof typeof T]>;

/**
 * By table: which shard of a cluster a row goes to. What is inserted as a whole lies on one shard where it can, so that it is there
 * or not: a block's postings, an index's sample. Windows are spread in runs, features one by one: pages of any size are read from all
 * shards at once. All versions of a row that is replaced have the same shard.
 */
export const SHARDING = {
  keys: {
    documents: "intDiv(doc_id, 64)",
    sequences: "intDiv(sequence_id, 64)",
    vocabularies: "vocabulary_id",
    postings: "block",
    sampled_codes: "index_id",
    ingest_tails: "index_id",
    staged_stats: "feature_index",
    staged_coactivations: "feature_index",
    staged_weights: "feature_index",
    staged_given: "feature_index",
    staged_examples: "feature_index",
    staged_activations: "block",
    features: "feature_index",
    near_misses: "feature_index",
    staged_near_misses: "index_id",
    token_features: "token_id",
    logit_features: "token_id",
    feature_examples: "feature_index",
    feature_pages: "feature_index",
    token_counts: "index_id",
    imported_rows: "feature_index",
    explanations: "feature_index",
    explanation_vectors: "feature_index",
    token_vectors: "token_id",
    feature_vectors: "feature_index",
    vector_spaces: "index_id",
    index_names: "index_id",
    corpus_names: "corpus_id",
    training_metrics: "cityHash64(training_run)",
  } satisfies Readonly<Record<TableName, string>>,
  database: SHARD_DATABASE,
} as const satisfies ShardLayout;

/** Database of the tables that hold rows. */
export function storedDatabase(clickhouse: ClickHouse): string {
  return clickhouse.cluster === undefined ? TABLES_DATABASE : SHARD_DATABASE;
}

/**
 * A table, by its name in T or without the database, as statements take it that work on the rows where they lie: ALTER TABLE,
 * OPTIMIZE TABLE, DELETE FROM. In a cluster: the tables of all shards.
 */
export function stored(clickhouse: ClickHouse, name: string): string {
  return `${storedDatabase(clickhouse)}.${name.slice(name.indexOf(".") + 1)}${onCluster(clickhouse.cluster)}`;
}

/** A table of the server's own facts, such as parts; in a cluster: of one server a shard. */
export function systemTable(clickhouse: ClickHouse, name: string): string {
  return clickhouse.cluster === undefined ? `system.${name}` : `cluster('${clickhouse.cluster}', system.${name})`;
}
