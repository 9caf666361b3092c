/** Database of the tables; the views that users see lie in a database of their own. */
export const TABLES_DATABASE = "mistral_sae";
export const VIEWS_DATABASE = "sae";

const table = <Name extends string>(name: Name) => `${TABLES_DATABASE}.${name}` as const;

/** Full names of the tables. */
export const T = {
  documents: table("documents"),
  sequences: table("sequences"),
  vocabularies: table("vocabularies"),
  postings: table("postings"),
  sampledCodes: table("sampled_codes"),
  featureStats: table("feature_stats"),
  featureExamples: table("feature_examples"),
  featureWeights: table("feature_weights"),
  featureCoactivations: table("feature_coactivations"),
  tokenCounts: table("token_counts"),
  explanations: table("explanations"),
  indexNames: table("index_names"),
  corpusNames: table("corpus_names"),
} as const;

/** Tables whose rows belong to one corpus, by corpus_id. */
export const CORPUS_TABLES = ["documents", "sequences"] as const;

/** Tables whose rows belong to one index, by index_id. */
export const INDEX_TABLES = ["postings", "sampled_codes", "feature_stats", "feature_examples", "feature_weights", "feature_coactivations", "token_counts"] as const;

/** Those of them that are made again when an index is built again from its postings. */
export const BUILT_TABLES = ["feature_stats", "feature_examples", "feature_weights", "feature_coactivations", "token_counts"] as const;
