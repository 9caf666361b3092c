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
  stagedStats: table("staged_stats"),
  stagedCoactivations: table("staged_coactivations"),
  stagedWeights: table("staged_weights"),
  stagedGiven: table("staged_given"),
  stagedExamples: table("staged_examples"),
  stagedActivations: table("staged_activations"),
  features: table("features"),
  featureExamples: table("feature_examples"),
  tokenCounts: table("token_counts"),
  importedRows: table("imported_rows"),
  explanations: table("explanations"),
  indexNames: table("index_names"),
  corpusNames: table("corpus_names"),
  trainingMetrics: table("training_metrics"),
} as const;

/** Tables whose rows belong to one corpus, by corpus_id. */
export const CORPUS_TABLES = ["documents", "sequences"] as const;

/** Tables whose rows belong to one index, by index_id. */
export const INDEX_TABLES = ["postings", "sampled_codes", "features", "feature_examples", "token_counts", "imported_rows"] as const;

/** Tables that hold parts of features while an index is built, and nothing of it afterwards. */
export const STAGED_TABLES = ["staged_stats", "staged_coactivations", "staged_weights", "staged_given", "staged_examples", "staged_activations"] as const;

/** Tables that building fills from the postings. */
export const BUILT_TABLES = ["features", "feature_examples", "token_counts", ...STAGED_TABLES] as const;
