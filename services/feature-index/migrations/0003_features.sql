-- What is known of each feature, one row a feature, dead ones included.

CREATE TABLE IF NOT EXISTS {{tables}}.feature_stats {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  n_firings UInt64 CODEC(T64, ZSTD(1)),
  max_activation Float32 CODEC(ZSTD(1)),
  sum_activation Float64 CODEC(ZSTD(1)),
  -- Log-spaced histogram: the upper 11 bits of the bfloat16, four bins an octave, empty ones left out.
  log_bins Array(UInt16) CODEC(Delta, ZSTD(1)),
  log_counts Array(UInt32) CODEC(T64, ZSTD(1)),
  -- Histogram over [0, max_activation], evenly spaced.
  linear_counts Array(UInt32) CODEC(T64, ZSTD(1)),
  -- Strata of equally many firings, strongest first.
  strata_n Array(UInt32) CODEC(T64, ZSTD(1)),
  strata_min Array(Float32) CODEC(ZSTD(1)),
  strata_max Array(Float32) CODEC(ZSTD(1)),
  -- Tokens by summed activation, over the firings that were sampled.
  top_token_ids Array(UInt32) CODEC(ZSTD(1)),
  top_token_n Array(UInt32) CODEC(T64, ZSTD(1)),
  top_token_sum Array(Float32) CODEC(ZSTD(1)),
  -- Texts of the first ten.
  top_tokens Array(String) CODEC(ZSTD(1)),
  n_firings_sampled UInt64 CODEC(T64, ZSTD(1)),
  -- Firings by the documents' source, the most first.
  sources Array(LowCardinality(String)),
  source_n Array(UInt64) CODEC(T64, ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS index_granularity = 128, non_replicated_deduplication_window = 1000;

CREATE TABLE IF NOT EXISTS {{tables}}.feature_examples {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  -- 0: the largest, one a document. From 1: evenly spaced ranks of that stratum, strongest stratum first.
  stratum UInt8 CODEC(ZSTD(1)),
  rank UInt16 CODEC(ZSTD(1)),
  sequence_id UInt32 CODEC(ZSTD(1)),
  -- The token it was chosen for, and its activation.
  token_index UInt16 CODEC(ZSTD(1)),
  activation Float32 CODEC(ZSTD(1)),
  -- All firings of the feature in that window.
  pos Array(UInt16) CODEC(ZSTD(1)),
  acts Array(BFloat16) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index, stratum, rank)
SETTINGS index_granularity = 128, non_replicated_deduplication_window = 1000;

-- What the SAE's and the model's weights say of a feature.
CREATE TABLE IF NOT EXISTS {{tables}}.feature_weights {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  w_dec_norm Float32 CODEC(ZSTD(1)),
  pos_token_ids Array(UInt32) CODEC(ZSTD(1)),
  pos_logits Array(Float32) CODEC(ZSTD(1)),
  neg_token_ids Array(UInt32) CODEC(ZSTD(1)),
  neg_logits Array(Float32) CODEC(ZSTD(1)),
  -- Texts of the first ten of each.
  pos_tokens Array(String) CODEC(ZSTD(1)),
  neg_tokens Array(String) CODEC(ZSTD(1)),
  -- Features whose decoder rows point the same way; empty where there are too many to compare all.
  nearest Array(UInt32) CODEC(ZSTD(1)),
  nearest_cosine Array(Float32) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS index_granularity = 128, non_replicated_deduplication_window = 1000;

-- Features that fire on the same tokens, counted over sampled_codes: the strongest by each measure.
CREATE TABLE IF NOT EXISTS {{tables}}.feature_coactivations {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  -- Sampled tokens, and those on which the feature fires.
  n_tokens UInt32 CODEC(ZSTD(1)),
  n UInt32 CODEC(T64, ZSTD(1)),
  others Array(UInt32) CODEC(ZSTD(1)),
  others_n Array(UInt32) CODEC(T64, ZSTD(1)),
  together Array(UInt32) CODEC(T64, ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS index_granularity = 128, non_replicated_deduplication_window = 1000;

-- How often each token stands in the indexed text that was sampled, special positions left out.
CREATE TABLE IF NOT EXISTS {{tables}}.token_counts {{on_cluster}} (
  index_id UInt32,
  token_id UInt32 CODEC(Delta, ZSTD(1)),
  n UInt64 CODEC(T64, ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, token_id)
SETTINGS non_replicated_deduplication_window = 100;

CREATE TABLE IF NOT EXISTS {{tables}}.explanations {{on_cluster}} (
  sae_id UInt32,
  feature_index UInt32,
  name String,
  description String,
  explanation_type LowCardinality(String),
  -- Empty for a local summary.
  explanation_model LowCardinality(String),
  score Nullable(Float64),
  version UInt64
) ENGINE = {{replicated}}ReplacingMergeTree(version) ORDER BY (sae_id, feature_index, name)
SETTINGS index_granularity = 256;
