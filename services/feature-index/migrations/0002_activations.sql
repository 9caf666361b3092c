-- Every activation. A block is a run of windows that fills at most 65,536 positions, so that a position fits 16 bits:
-- sequence_id = block * intDiv(65536, context_size) + intDiv(pos, context_size), token = pos % context_size.

CREATE TABLE IF NOT EXISTS {{tables}}.postings {{on_cluster}} (
  index_id UInt32,
  -- 1 for activations on special tokens, which statistics leave out.
  is_special UInt8 CODEC(ZSTD(1)),
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  block UInt32 CODEC(Delta, ZSTD(1)),
  n UInt32 CODEC(T64, ZSTD(1)),
  max_activation Float32 CODEC(ZSTD(1)),
  pos Array(UInt16) CODEC(Delta, ZSTD(1)),
  acts Array(BFloat16) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, is_special, feature_index, block)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The codes of some tokens as they are, evenly spread, for what fires together.
CREATE TABLE IF NOT EXISTS {{tables}}.sampled_codes {{on_cluster}} (
  index_id UInt32,
  sequence_id UInt32 CODEC(Delta, ZSTD(1)),
  token_index UInt16 CODEC(ZSTD(1)),
  features Array(UInt32) CODEC(ZSTD(1)),
  acts Array(BFloat16) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, sequence_id, token_index)
SETTINGS index_granularity = 512, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
