-- How training runs go, one row a step that was kept. The training service's catalogue holds the same and more; a row that comes
-- twice replaces the one before.

CREATE TABLE IF NOT EXISTS {{tables}}.training_metrics {{on_cluster}} (
  training_run LowCardinality(String),
  step UInt64 CODEC(Delta, ZSTD(1)),
  n_training_tokens UInt64 CODEC(Delta, ZSTD(1)),
  loss Float64 CODEC(ZSTD(1)),
  mse_loss Float64 CODEC(ZSTD(1)),
  aux_loss Float64 CODEC(ZSTD(1)),
  sparsity_loss Float64 CODEC(ZSTD(1)),
  fvu Float64 CODEC(ZSTD(1)),
  l0 Float64 CODEC(ZSTD(1)),
  dead_fraction Float64 CODEC(ZSTD(1)),
  grad_norm Float64 CODEC(ZSTD(1)),
  lr Float64 CODEC(ZSTD(1)),
  tokens_per_second Float64 CODEC(ZSTD(1)),
  buffer_wait_share Float64 CODEC(ZSTD(1)),
  -- When it was received, milliseconds.
  version UInt64 CODEC(Delta, ZSTD(1))
) ENGINE = {{replicated}}ReplacingMergeTree(version) ORDER BY (training_run, step)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW {{views}}.training_metrics {{on_cluster}} DEFINER = {{owner}} SQL SECURITY DEFINER AS
SELECT training_run, step, n_training_tokens, loss, mse_loss, aux_loss, sparsity_loss, fvu, l0, dead_fraction, grad_norm, lr,
  tokens_per_second, buffer_wait_share, fromUnixTimestamp64Milli(toInt64(version)) AS recorded_at
FROM {{tables}}.training_metrics FINAL ORDER BY training_run, step;
