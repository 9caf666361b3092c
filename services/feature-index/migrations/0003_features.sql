-- What is known of each feature, one row a feature, dead ones included. It is computed in three parts, which are put
-- together into `features` when all of them are there, and then forgotten.

CREATE TABLE IF NOT EXISTS {{tables}}.staged_stats {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32,
  n_firings UInt64,
  max_activation Float32,
  sum_activation Float64,
  log_bins Array(UInt16),
  log_counts Array(UInt32),
  linear_counts Array(UInt32),
  strata_n Array(UInt32),
  strata_min Array(Float32),
  strata_max Array(Float32),
  top_token_ids Array(UInt32),
  top_token_n Array(UInt32),
  top_token_sum Array(Float32),
  top_tokens Array(String),
  n_firings_sampled UInt64,
  sources Array(LowCardinality(String)),
  source_n Array(UInt64)
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {{tables}}.staged_coactivations {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32,
  n_tokens_sampled UInt32,
  n_sampled UInt32,
  coactive Array(UInt32),
  coactive_n Array(UInt32),
  coactive_together Array(UInt32)
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {{tables}}.staged_weights {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32,
  w_dec_norm Float32,
  pos_token_ids Array(UInt32),
  pos_logits Array(Float32),
  pos_tokens Array(String),
  neg_token_ids Array(UInt32),
  neg_logits Array(Float32),
  neg_tokens Array(String),
  nearest Array(UInt32),
  nearest_cosine Array(Float32)
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {{tables}}.features {{on_cluster}} (
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
  -- Tokens by summed activation, over the firings in the blocks whose tokens were counted; texts of the first ten.
  top_token_ids Array(UInt32) CODEC(ZSTD(1)),
  top_token_n Array(UInt32) CODEC(T64, ZSTD(1)),
  top_token_sum Array(Float32) CODEC(ZSTD(1)),
  top_tokens Array(String) CODEC(ZSTD(1)),
  n_firings_sampled UInt64 CODEC(T64, ZSTD(1)),
  -- Firings by the documents' source, the most first.
  sources Array(LowCardinality(String)),
  source_n Array(UInt64) CODEC(T64, ZSTD(1)),
  -- Features that fire on the same tokens, the strongest by each measure, counted over sampled_codes: its tokens, those on
  -- which this feature fires, those on which the other does, and those on which both do.
  n_tokens_sampled UInt32 CODEC(ZSTD(1)),
  n_sampled UInt32 CODEC(T64, ZSTD(1)),
  coactive Array(UInt32) CODEC(ZSTD(1)),
  coactive_n Array(UInt32) CODEC(T64, ZSTD(1)),
  coactive_together Array(UInt32) CODEC(T64, ZSTD(1)),
  -- What the SAE's and the model's weights say: the decoder row's length, tokens promoted and suppressed, texts of the
  -- first ten, and features whose rows point the same way (none where there are too many to compare all).
  w_dec_norm Float32 CODEC(ZSTD(1)),
  pos_token_ids Array(UInt32) CODEC(ZSTD(1)),
  pos_logits Array(Float32) CODEC(ZSTD(1)),
  pos_tokens Array(String) CODEC(ZSTD(1)),
  neg_token_ids Array(UInt32) CODEC(ZSTD(1)),
  neg_logits Array(Float32) CODEC(ZSTD(1)),
  neg_tokens Array(String) CODEC(ZSTD(1)),
  nearest Array(UInt32) CODEC(ZSTD(1)),
  nearest_cosine Array(Float32) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
-- Compact parts: a page reads all columns of one row.
SETTINGS index_granularity = 64, min_bytes_for_wide_part = 1000000000000, min_rows_for_wide_part = 1000000000000, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

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
SETTINGS index_granularity = 128, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- How often each token stands in the indexed text that was sampled, special positions left out.
CREATE TABLE IF NOT EXISTS {{tables}}.token_counts {{on_cluster}} (
  index_id UInt32,
  token_id UInt32 CODEC(Delta, ZSTD(1)),
  n UInt64 CODEC(T64, ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, token_id)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1;

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
