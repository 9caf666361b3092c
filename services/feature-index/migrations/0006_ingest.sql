-- Fields of a document's record that its corpus keeps, as one JSON object; empty where it keeps none.

ALTER TABLE {{tables}}.documents {{on_cluster}} ADD COLUMN IF NOT EXISTS metadata String DEFAULT '' CODEC(ZSTD(3)) AFTER text;

-- Windows of codes made elsewhere that are acknowledged and do not fill a block yet, and nothing of them afterwards. A row that
-- comes again replaces the one before: its sender was cut off before it was acknowledged.
CREATE TABLE IF NOT EXISTS {{tables}}.ingest_tails {{on_cluster}} (
  index_id UInt32,
  shard UInt32,
  -- Blocks that the shard filled before, and the window's place after them.
  filled UInt32,
  place UInt32,
  doc_id UInt32,
  source LowCardinality(String),
  token_start UInt32,
  tokens Array(UInt32) CODEC(T64, ZSTD(1)),
  special Array(UInt16) CODEC(ZSTD(1)),
  -- Features of each token, and all of them one after another.
  row_lengths Array(UInt32) CODEC(T64, ZSTD(1)),
  features Array(UInt32) CODEC(ZSTD(1)),
  acts Array(BFloat16) CODEC(ZSTD(1)),
  version UInt64
) ENGINE = {{replicated}}ReplacingMergeTree(version) PARTITION BY index_id ORDER BY (index_id, shard, filled, place)
SETTINGS index_granularity = 64, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
