-- Texts, and the windows of tokens that the model reads. Inserts reach the disk before they are acknowledged: the ledger of
-- jobs, which is as durable, takes them for done.

CREATE TABLE IF NOT EXISTS {{tables}}.documents {{on_cluster}} (
  corpus_id UInt32,
  -- Ordinal in the corpus.
  doc_id UInt32 CODEC(Delta, ZSTD(1)),
  source LowCardinality(String),
  -- Name of the file it was read from, and the line where it starts.
  file_name LowCardinality(String),
  line UInt32 CODEC(Delta, ZSTD(1)),
  -- 1 where training never saw it.
  held_back UInt8,
  -- First of its windows, and how many there are.
  sequence_start UInt32 CODEC(Delta, ZSTD(1)),
  n_sequences UInt32 CODEC(T64, ZSTD(1)),
  -- Special tokens left out.
  n_tokens UInt32 CODEC(T64, ZSTD(1)),
  text String CODEC(ZSTD(3))
) ENGINE = {{replicated}}MergeTree PARTITION BY corpus_id ORDER BY (corpus_id, doc_id)
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS {{tables}}.sequences {{on_cluster}} (
  corpus_id UInt32,
  -- Ordinal in the corpus; the windows of a document follow one another.
  sequence_id UInt32 CODEC(Delta, ZSTD(1)),
  doc_id UInt32 CODEC(Delta, ZSTD(1)),
  source LowCardinality(String),
  -- Position of its first token within the document, special tokens not counted.
  token_start UInt32 CODEC(T64, ZSTD(1)),
  -- Ids, BOS included, and the positions of the special ones among them.
  tokens Array(UInt32) CODEC(T64, ZSTD(1)),
  special Array(UInt16) CODEC(ZSTD(1))
) ENGINE = {{replicated}}MergeTree PARTITION BY corpus_id ORDER BY (corpus_id, sequence_id)
-- Small compressed blocks: a page reads some forty windows from all over the corpus.
SETTINGS index_granularity = 16, min_bytes_for_wide_part = 0, min_compress_block_size = 4096, max_compress_block_size = 8192,
  non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Texts of a tokenizer's tokens.
CREATE TABLE IF NOT EXISTS {{tables}}.vocabularies {{on_cluster}} (
  vocabulary_id UInt32,
  token_id UInt32 CODEC(Delta, ZSTD(1)),
  str_token String CODEC(ZSTD(1))
) ENGINE = {{replicated}}ReplacingMergeTree PARTITION BY vocabulary_id ORDER BY (vocabulary_id, token_id)
SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1;
