import type { DatabaseSync } from "node:sqlite";

// Ids are never used again (AUTOINCREMENT), so rows of something deleted cannot be taken for rows of its successor.
const VERSIONS: readonly string[] = [
  `CREATE TABLE corpora (
     corpus_id INTEGER PRIMARY KEY AUTOINCREMENT,
     id TEXT NOT NULL UNIQUE,
     request_id TEXT NOT NULL,
     request TEXT NOT NULL,
     source TEXT NOT NULL,
     model TEXT NOT NULL,
     context_size INTEGER NOT NULL,
     ready INTEGER NOT NULL DEFAULT 0,
     chunks INTEGER NOT NULL DEFAULT 0,
     n_documents INTEGER NOT NULL DEFAULT 0,
     n_sequences INTEGER NOT NULL DEFAULT 0,
     n_tokens INTEGER NOT NULL DEFAULT 0,
     n_special_tokens INTEGER NOT NULL DEFAULT 0,
     stored_from TEXT NOT NULL DEFAULT '',
     vocabulary_id INTEGER NOT NULL DEFAULT 0,
     digest TEXT NOT NULL DEFAULT '',
     created_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE vocabularies (
     vocabulary_id INTEGER PRIMARY KEY AUTOINCREMENT,
     model TEXT NOT NULL,
     model_digest TEXT NOT NULL,
     size INTEGER NOT NULL,
     UNIQUE (model, model_digest)
   ) STRICT;
   CREATE TABLE saes (
     sae_id INTEGER PRIMARY KEY AUTOINCREMENT,
     name TEXT NOT NULL,
     digest TEXT NOT NULL,
     d_sae INTEGER NOT NULL,
     hook_name TEXT NOT NULL,
     UNIQUE (name, digest)
   ) STRICT;
   CREATE TABLE indexes (
     index_id INTEGER PRIMARY KEY AUTOINCREMENT,
     id TEXT NOT NULL UNIQUE,
     operation TEXT NOT NULL UNIQUE,
     sae_id INTEGER NOT NULL REFERENCES saes,
     corpus_id INTEGER NOT NULL REFERENCES corpora,
     max_tokens INTEGER NOT NULL,
     include_special_tokens INTEGER NOT NULL,
     state TEXT NOT NULL,
     n_sequences INTEGER NOT NULL DEFAULT 0,
     n_tokens INTEGER NOT NULL DEFAULT 0,
     n_special_tokens INTEGER NOT NULL DEFAULT 0,
     n_activations INTEGER NOT NULL DEFAULT 0,
     n_features_alive INTEGER NOT NULL DEFAULT 0,
     created_ms INTEGER NOT NULL
   ) STRICT;`,
  "ALTER TABLE indexes ADD COLUMN imported_from TEXT NOT NULL DEFAULT '';",
  `CREATE TABLE saved_queries (
     id TEXT PRIMARY KEY,
     sql TEXT NOT NULL,
     description TEXT NOT NULL
   ) STRICT;`,
  `ALTER TABLE indexes ADD COLUMN ingest_l0 INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE corpora ADD COLUMN ingested INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE vocabularies ADD COLUMN special_ids TEXT;
   CREATE TABLE ingest_shards (
     index_id INTEGER NOT NULL REFERENCES indexes ON DELETE CASCADE,
     shard INTEGER NOT NULL,
     next_seq INTEGER NOT NULL,
     skip_windows INTEGER NOT NULL,
     filled INTEGER NOT NULL,
     tail_windows INTEGER NOT NULL,
     doc_id INTEGER NOT NULL,
     doc_tokens INTEGER NOT NULL,
     PRIMARY KEY (index_id, shard)
   ) STRICT;
   CREATE TABLE ingest_blocks (
     index_id INTEGER NOT NULL REFERENCES indexes ON DELETE CASCADE,
     block INTEGER NOT NULL,
     shard INTEGER NOT NULL,
     ordinal INTEGER NOT NULL,
     stored INTEGER NOT NULL DEFAULT 0,
     n_sequences INTEGER NOT NULL DEFAULT 0,
     n_tokens INTEGER NOT NULL DEFAULT 0,
     n_special_tokens INTEGER NOT NULL DEFAULT 0,
     n_activations INTEGER NOT NULL DEFAULT 0,
     n_special_activations INTEGER NOT NULL DEFAULT 0,
     PRIMARY KEY (index_id, block),
     UNIQUE (index_id, shard, ordinal)
   ) STRICT;`,
];

/** Brings the catalogue's schema up to date. Throws when it was made by a newer version. */
export function applySchema(db: DatabaseSync): void {
  const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  if (version > VERSIONS.length) {
    throw new Error(`the catalogue has schema ${version}, wanted at most ${VERSIONS.length}: it was made by a newer version`);
  }
  for (const [i, sql] of VERSIONS.entries()) {
    if (i < version) continue;
    db.exec(`BEGIN IMMEDIATE; ${sql} PRAGMA user_version = ${i + 1}; COMMIT;`);
  }
}
