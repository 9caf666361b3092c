-- What a feature's page is made of besides windows and explanations, packed: one column of one row is read instead of some forty of
-- two tables. Written when building ends, of `features` and `feature_examples`; an index without it is read from those.
CREATE TABLE IF NOT EXISTS {{tables}}.feature_pages {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32 CODEC(Delta, ZSTD(1)),
  -- RowBinary of what lists show, and of what the page shows besides, its examples last. Who changes what they hold must change
  -- the table: rows do not tell.
  basic String CODEC(ZSTD(1)),
  rest String CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
-- Compact parts: a granule's column is one compressed block, of some ten kilobytes.
SETTINGS index_granularity = 8, min_bytes_for_wide_part = 1000000000000, min_rows_for_wide_part = 1000000000000, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;
