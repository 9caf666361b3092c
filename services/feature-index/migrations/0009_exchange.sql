-- What other programs measured, as they gave it: their activations are Float32, ours bfloat16.

-- The unrounded activations of an import beside `acts`; empty for our own.
ALTER TABLE {{tables}}.postings {{on_cluster}} ADD COLUMN IF NOT EXISTS acts_f32 Array(Float32) CODEC(ZSTD(1));
ALTER TABLE {{tables}}.feature_examples {{on_cluster}} ADD COLUMN IF NOT EXISTS acts_f32 Array(Float32) CODEC(ZSTD(1));

-- 1 where a dashboard was imported, which holds examples alone: n_firings, sum_activation, log_counts, linear_counts, w_dec_norm
-- and co-activations are then unknown, not zero.
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS imported UInt8 DEFAULT 0 CODEC(ZSTD(1));
-- Share of tokens on which it fires, as given; NULL where it was not.
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS given_frac_nonzero Nullable(Float64) DEFAULT NULL CODEC(ZSTD(1));
-- The histogram of activations as given: the edges of its bins and their heights.
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS given_hist_edges Array(Float64) DEFAULT [] CODEC(ZSTD(1));
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS given_hist_counts Array(Float64) DEFAULT [] CODEC(ZSTD(1));
-- Share of the firings in each stratum as given, beside strata_min and strata_max.
ALTER TABLE {{tables}}.features {{on_cluster}} ADD COLUMN IF NOT EXISTS given_strata_share Array(Float64) DEFAULT [] CODEC(ZSTD(1));

-- The rows of an imported dashboard, so that an export gives back what came: tokens and values of examples stand in `sequences`
-- and `feature_examples`, everything else here.
CREATE TABLE IF NOT EXISTS {{tables}}.imported_rows {{on_cluster}} (
  index_id UInt32,
  -- feature, activation, explanation, or metadata: a line of the file `file`.
  kind LowCardinality(String),
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  -- Of an example its sequence_id, of other rows their place.
  ordinal UInt32 CODEC(Delta, ZSTD(1)),
  file LowCardinality(String),
  -- The row's own JSON.
  row String CODEC(ZSTD(3)),
  -- How the values of an example were written: 0 as the shortest decimals of their Float32, 1 as the Float32 itself, 2 as `vals`.
  values_form UInt8 CODEC(ZSTD(1)),
  vals Array(Float64) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, kind, feature_index, ordinal)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Parts of an import while it is read, and nothing of it afterwards.

CREATE TABLE IF NOT EXISTS {{tables}}.staged_given {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32,
  max_activation Nullable(Float64),
  frac_nonzero Nullable(Float64),
  hist_edges Array(Float64),
  hist_counts Array(Float64),
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

CREATE TABLE IF NOT EXISTS {{tables}}.staged_examples {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32,
  sequence_id UInt32,
  -- NaN where not given; -1 and -1 mark the examples with the largest activations.
  bin_min Float64,
  bin_max Float64,
  bin_contains Float64,
  token_index UInt16,
  activation Float32,
  pos Array(UInt16),
  acts Array(BFloat16),
  acts_f32 Array(Float32),
  -- Ids of the tokens at pos.
  token_ids Array(UInt32)
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index, sequence_id)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row an activation, sorted as blocks are made.
CREATE TABLE IF NOT EXISTS {{tables}}.staged_activations {{on_cluster}} (
  index_id UInt32,
  block UInt32 CODEC(Delta, ZSTD(1)),
  pos UInt16 CODEC(Delta, ZSTD(1)),
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  act Float32 CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, block, pos, feature_index)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
