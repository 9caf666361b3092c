import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import type { CorpusProgress, CorpusRecord, ImportSource, IndexCounts, IndexRecord, IndexStateName, SaeRecord, SavedQueryRecord, VocabularyRecord } from "./records.ts";
import { IngestLedger } from "./ingest-ledger.ts";
import { applySchema } from "./schema.ts";

type Row = Record<string, number | string>;

/** What corpora, SAEs and indexes there are, on disk. Every call is one durable transaction. */
export class Catalogue implements Disposable {
  readonly #db: DatabaseSync;
  #indexes: readonly IndexRecord[] | undefined;
  /** How far codes made elsewhere have come. */
  readonly ingest: IngestLedger;

  /** Opens the file at `path`, making it when missing. */
  constructor(path: string) {
    mkdirSync(dirname(path), { recursive: true });
    this.#db = new DatabaseSync(path, { timeout: 5_000 });
    this.#db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;");
    applySchema(this.#db);
    this.ingest = new IngestLedger(this.#db);
  }

  addCorpus(corpus: Pick<CorpusRecord, "id" | "requestId" | "request" | "source" | "model" | "contextSize"> & Partial<Pick<CorpusRecord, "ingested">>): CorpusRecord {
    this.#run(
      "INSERT INTO corpora (id, request_id, request, source, model, context_size, ingested, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      corpus.id, corpus.requestId, corpus.request, corpus.source, corpus.model, corpus.contextSize, Number(corpus.ingested ?? false), Date.now(),
    );
    return this.corpus(corpus.id) as CorpusRecord;
  }

  corpus(id: string): CorpusRecord | undefined {
    const row = this.#db.prepare("SELECT * FROM corpora WHERE id = ?").get(id);
    return row === undefined ? undefined : corpusOf(row as Row);
  }

  /** By id. */
  corpora(): CorpusRecord[] {
    return this.#db.prepare("SELECT * FROM corpora ORDER BY id").all().map((row) => corpusOf(row as Row));
  }

  setCorpusProgress(corpusId: number, progress: CorpusProgress): void {
    this.#run(
      "UPDATE corpora SET chunks = ?, n_documents = ?, n_sequences = ?, n_tokens = ?, n_special_tokens = ? WHERE corpus_id = ?",
      progress.chunks, progress.nDocuments, progress.nSequences, progress.nTokens, progress.nSpecialTokens, corpusId,
    );
  }

  /** Notes which tokenizer cuts which files, before its first chunk is stored. */
  setCorpusOrigin(corpusId: number, storedFrom: string, vocabularyId: number): void {
    this.#run("UPDATE corpora SET stored_from = ?, vocabulary_id = ? WHERE corpus_id = ?", storedFrom, vocabularyId, corpusId);
  }

  setCorpusReady(corpusId: number, digest: string): void {
    this.#run("UPDATE corpora SET ready = 1, digest = ? WHERE corpus_id = ?", digest, corpusId);
  }

  deleteCorpus(corpusId: number): void {
    this.#run("DELETE FROM corpora WHERE corpus_id = ?", corpusId);
  }

  /** The tokens of a model, their texts not yet stored where `size` is 0. */
  vocabulary(model: string, modelDigest: string): VocabularyRecord {
    this.#run("INSERT INTO vocabularies (model, model_digest, size) VALUES (?, ?, 0) ON CONFLICT DO NOTHING", model, modelDigest);
    return vocabularyOf(this.#db.prepare("SELECT * FROM vocabularies WHERE model = ? AND model_digest = ?").get(model, modelDigest) as Row);
  }

  vocabularyById(vocabularyId: number): VocabularyRecord | undefined {
    const row = this.#db.prepare("SELECT * FROM vocabularies WHERE vocabulary_id = ?").get(vocabularyId);
    return row === undefined ? undefined : vocabularyOf(row as Row);
  }

  setVocabularySize(vocabularyId: number, size: number): void {
    this.#run("UPDATE vocabularies SET size = ? WHERE vocabulary_id = ?", size, vocabularyId);
  }

  setSpecialIds(vocabularyId: number, specialIds: readonly number[]): void {
    this.#run("UPDATE vocabularies SET special_ids = ? WHERE vocabulary_id = ?", JSON.stringify(specialIds), vocabularyId);
  }

  /** The record of an SAE with these weights, made when missing. */
  sae(sae: Omit<SaeRecord, "saeId">): SaeRecord {
    this.#run("INSERT INTO saes (name, digest, d_sae, hook_name) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", sae.name, sae.digest, sae.dSae, sae.hookName);
    return saeOf(this.#db.prepare("SELECT * FROM saes WHERE name = ? AND digest = ?").get(sae.name, sae.digest) as Row);
  }

  /** Every SAE that was ever indexed or explained. */
  saes(): SaeRecord[] {
    return (this.#db.prepare("SELECT * FROM saes ORDER BY sae_id").all() as Row[]).map(saeOf);
  }

  /** Writes all of it to a new file, as it is at one instant. */
  copyTo(path: string): void {
    this.#run("VACUUM INTO ?", path);
  }

  /** Replaces everything by what a file that `copyTo` wrote holds; numbers that were ever used are not used again. */
  replaceFrom(path: string): void {
    using copy = new DatabaseSync(path);
    applySchema(copy);
    copy.close();
    this.#db.prepare("ATTACH ? AS copy").run(path);
    try {
      const tables = ["ingest_blocks", "ingest_shards", "indexes", "saes", "vocabularies", "corpora", "saved_queries"];
      const clear = tables.map((table) => `DELETE FROM main.${table};`).join(" ");
      const fill = tables.toReversed().map((table) => `INSERT INTO main.${table} SELECT * FROM copy.${table};`).join(" ");
      this.#db.exec(`BEGIN IMMEDIATE; ${clear} ${fill} COMMIT;`);
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    } finally {
      this.#db.exec("DETACH copy");
      this.#indexes = undefined;
    }
  }

  /** The newest record of an SAE's name. */
  newestSae(name: string): SaeRecord | undefined {
    const row = this.#db.prepare("SELECT * FROM saes WHERE name = ? ORDER BY sae_id DESC LIMIT 1").get(name);
    return row === undefined ? undefined : saeOf(row as Row);
  }

  /** The index that an operation builds, made when missing; its id is `{preferred}` or the first free `{preferred}-{n}`. */
  indexFor(operation: string, preferredId: string, index: Pick<IndexRecord, "sae" | "corpus" | "maxTokens" | "includeSpecialTokens"> & Partial<Pick<IndexRecord, "importedFrom">>): IndexRecord {
    const existing = this.indexes().find((record) => record.operation === operation);
    if (existing !== undefined) return existing;
    const taken = new Set(this.indexes().map(({ id }) => id));
    let id = preferredId.slice(0, 63);
    for (let n = 2; taken.has(id); n++) id = `${preferredId.slice(0, 62 - String(n).length)}-${n}`;
    this.#run(
      "INSERT INTO indexes (id, operation, sae_id, corpus_id, max_tokens, include_special_tokens, imported_from, state, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, 'building', ?)",
      id, operation, index.sae.saeId, index.corpus.corpusId, index.maxTokens, Number(index.includeSpecialTokens), index.importedFrom ?? "", Date.now(),
    );
    return this.index(id) as IndexRecord;
  }

  /** An empty index that takes codes made elsewhere, and the corpus that their sequences will make. */
  addIngestIndex(id: string, index: Pick<IndexRecord, "sae" | "includeSpecialTokens" | "ingestL0">, corpus: Parameters<Catalogue["addCorpus"]>[0]): IndexRecord {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const { corpusId } = this.addCorpus({ ...corpus, ingested: true });
      this.#run(
        "INSERT INTO indexes (id, operation, sae_id, corpus_id, max_tokens, include_special_tokens, ingest_l0, state, created_ms) VALUES (?, ?, ?, ?, 0, ?, ?, 'building', ?)",
        id, `ingest/${corpusId}`, index.sae.saeId, corpusId, Number(index.includeSpecialTokens), index.ingestL0, Date.now(),
      );
      this.#db.exec("COMMIT");
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
    return this.index(id) as IndexRecord;
  }

  setIndexOperation(indexId: number, operation: string): void {
    this.#run("UPDATE indexes SET operation = ? WHERE index_id = ?", operation, indexId);
  }

  index(id: string): IndexRecord | undefined {
    return this.indexes().find((record) => record.id === id);
  }

  /** Newest first. Every request asks for them, so they are kept until something is written. */
  indexes(): IndexRecord[] {
    this.#indexes ??= this.#readIndexes();
    return [...this.#indexes];
  }

  #readIndexes(): readonly IndexRecord[] {
    const rows = this.#db.prepare("SELECT * FROM indexes ORDER BY index_id DESC").all() as Row[];
    const saes = new Map((this.#db.prepare("SELECT * FROM saes").all() as Row[]).map((row) => [row["sae_id"], saeOf(row)]));
    const corpora = new Map((this.#db.prepare("SELECT * FROM corpora").all() as Row[]).map((row) => [row["corpus_id"], corpusOf(row)]));
    return rows.map((row) => indexOf(row, saes.get(row["sae_id"] as number) as SaeRecord, corpora.get(row["corpus_id"] as number) as CorpusRecord));
  }

  setIndexState(indexId: number, state: IndexStateName): void {
    this.#run("UPDATE indexes SET state = ? WHERE index_id = ?", state, indexId);
  }

  setIndexCounts(indexId: number, counts: IndexCounts): void {
    this.#run(
      "UPDATE indexes SET n_sequences = ?, n_tokens = ?, n_special_tokens = ?, n_activations = ?, n_features_alive = ? WHERE index_id = ?",
      counts.nSequences, counts.nTokens, counts.nSpecialTokens, counts.nActivations, counts.nFeaturesAlive, indexId,
    );
  }

  deleteIndex(indexId: number): void {
    this.#run("DELETE FROM indexes WHERE index_id = ?", indexId);
  }

  /** By id. */
  savedQueries(): SavedQueryRecord[] {
    return (this.#db.prepare("SELECT * FROM saved_queries ORDER BY id").all() as Row[]).map((row) => ({ id: String(row["id"]), sql: String(row["sql"]), description: String(row["description"]) }));
  }

  /** Stores a query in place of the one of the same id. */
  putSavedQuery({ id, sql, description }: SavedQueryRecord): void {
    this.#run("INSERT OR REPLACE INTO saved_queries (id, sql, description) VALUES (?, ?, ?)", id, sql, description);
  }

  deleteSavedQuery(id: string): void {
    this.#run("DELETE FROM saved_queries WHERE id = ?", id);
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#indexes = undefined;
    this.#db.prepare(sql).run(...values);
  }
}

function corpusOf(row: Row): CorpusRecord {
  const text = (name: string) => String(row[name]);
  const number = (name: string) => Number(row[name]);
  return {
    corpusId: number("corpus_id"),
    id: text("id"),
    requestId: text("request_id"),
    request: text("request"),
    source: text("source"),
    model: text("model"),
    contextSize: number("context_size"),
    ready: row["ready"] === 1,
    chunks: number("chunks"),
    nDocuments: number("n_documents"),
    nSequences: number("n_sequences"),
    nTokens: number("n_tokens"),
    nSpecialTokens: number("n_special_tokens"),
    storedFrom: text("stored_from"),
    vocabularyId: number("vocabulary_id"),
    digest: text("digest"),
    createdMs: number("created_ms"),
    ingested: row["ingested"] === 1,
  };
}

function vocabularyOf(row: Row): VocabularyRecord {
  const special = row["special_ids"];
  return { vocabularyId: Number(row["vocabulary_id"]), size: Number(row["size"]), specialIds: typeof special === "string" ? (JSON.parse(special) as number[]) : undefined };
}

function saeOf(row: Row): SaeRecord {
  return {
    saeId: Number(row["sae_id"]),
    name: String(row["name"]),
    digest: String(row["digest"]),
    dSae: Number(row["d_sae"]),
    hookName: String(row["hook_name"]),
  };
}

function indexOf(row: Row, sae: SaeRecord, corpus: CorpusRecord): IndexRecord {
  const number = (name: string) => Number(row[name]);
  return {
    indexId: number("index_id"),
    id: String(row["id"]),
    operation: String(row["operation"]),
    sae,
    corpus,
    maxTokens: number("max_tokens"),
    includeSpecialTokens: row["include_special_tokens"] === 1,
    importedFrom: row["imported_from"] as ImportSource,
    ingestL0: number("ingest_l0"),
    state: row["state"] as IndexStateName,
    nSequences: number("n_sequences"),
    nTokens: number("n_tokens"),
    nSpecialTokens: number("n_special_tokens"),
    nActivations: number("n_activations"),
    nFeaturesAlive: number("n_features_alive"),
    createdMs: number("created_ms"),
  };
}
