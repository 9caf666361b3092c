-- Searching by meaning: vectors of explanations, and our own vectors of tokens and features.

-- Vectors of length 1, of explanations as they read when their hash was taken; a changed text makes its vector stale until the
-- next one replaces it.
CREATE TABLE IF NOT EXISTS {{tables}}.explanation_vectors {{on_cluster}} (
  sae_id UInt32,
  -- What made it: vectors of two sources are never compared.
  source String,
  feature_index UInt32,
  name String,
  -- sipHash64 of the description.
  text_hash UInt64,
  vector Array(Float32),
  -- When it was made, milliseconds.
  version UInt64
) ENGINE = {{replicated}}ReplacingMergeTree(version) PARTITION BY sae_id ORDER BY (sae_id, source, feature_index, name)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1;

-- The space of our own vectors of an index: a query's vector is the sum of its tokens'.
CREATE TABLE IF NOT EXISTS {{tables}}.token_vectors {{on_cluster}} (
  index_id UInt32,
  token_id UInt32,
  vector Array(Float32)
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, token_id)
SETTINGS index_granularity = 64, fsync_after_insert = 1, fsync_part_directory = 1;

-- Features in that space, of length 1 (0 where nothing is known of one).
CREATE TABLE IF NOT EXISTS {{tables}}.feature_vectors {{on_cluster}} (
  index_id UInt32,
  feature_index UInt32,
  vector Array(Float32)
) ENGINE = {{replicated}}MergeTree PARTITION BY index_id ORDER BY (index_id, feature_index)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1;

-- The spaces that are whole: written last.
CREATE TABLE IF NOT EXISTS {{tables}}.vector_spaces {{on_cluster}} (
  index_id UInt32,
  method String,
  dimension UInt16,
  -- Singular values, the largest first.
  singular_values Array(Float32)
) ENGINE = {{replicated}}ReplacingMergeTree PARTITION BY index_id ORDER BY (index_id, method)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
