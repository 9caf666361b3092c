-- Fields of a document's record that its corpus keeps, as one JSON object; empty where it keeps none.

ALTER TABLE {{tables}}.documents {{on_cluster}} ADD COLUMN IF NOT EXISTS metadata String DEFAULT '' CODEC(ZSTD(3)) AFTER text;
