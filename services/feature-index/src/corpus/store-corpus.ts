import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import type { ClickHouse, NativeColumn } from "@mistral-sae/clickhouse";
import { type CorpusSource, type Document, openCorpus } from "@mistral-sae/corpus";
import { failedPrecondition } from "@mistral-sae/rpc";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { CorpusRecord } from "../catalogue/records.ts";
import { loadedModel, type Peers } from "../peers/peers.ts";
import { T } from "../store/tables.ts";
import { CorpusChunk } from "./chunk.ts";
import { corpusDigest } from "./corpus-digest.ts";
import { tokenizeDocuments } from "./tokenize.ts";
import type { Vocabularies } from "./vocabulary.ts";

/** What storing a corpus works with. */
export interface CorpusStoreParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly vocabularies: Vocabularies;
  readonly peers: Peers;
}

/** How far the storing of a corpus has come. */
export interface StoreProgress {
  readonly documents: number;
  /** 0 while unknown. */
  readonly totalDocuments: number;
}

/** Reads corpora, cuts them into windows of tokens and stores both. */
export class CorpusStore {
  readonly #parts: CorpusStoreParts;
  readonly #busy = new Map<string, Promise<unknown>>();

  constructor(parts: CorpusStoreParts) {
    this.#parts = parts;
  }

  /**
   * Stores a corpus that is not READY yet, from where a former attempt stopped: a chunk is inserted, then noted, and
   * inserting it again changes nothing. One attempt at a time; a second waits for the first and finds it READY.
   * @throws FAILED_PRECONDITION when model or files changed in between; InputError for text that cannot be read.
   */
  async store(id: string, signal: AbortSignal, report: (progress: StoreProgress) => void): Promise<CorpusRecord> {
    const before = this.#busy.get(id);
    const work = (async () => {
      await before?.catch(() => undefined);
      signal.throwIfAborted();
      return await this.#store(id, signal, report);
    })();
    this.#busy.set(id, work);
    try {
      return await work;
    } finally {
      if (this.#busy.get(id) === work) this.#busy.delete(id);
    }
  }

  /** Whether a corpus is being stored at this moment. */
  isBusy(id: string): boolean {
    return this.#busy.has(id);
  }

  async #store(id: string, signal: AbortSignal, report: (progress: StoreProgress) => void): Promise<CorpusRecord> {
    const { catalogue, clickhouse, peers, vocabularies } = this.#parts;
    const corpus = this.#existing(id);
    if (corpus.ready) return corpus;
    if (corpus.ingested) throw failedPrecondition("CORPUS_INCOMPLETE", `corpora/${id} is being made from codes that an index takes; finish that index first`, { corpus: `corpora/${id}` });
    const model = await loadedModel(peers, corpus.model, signal);
    const source = JSON.parse(corpus.source) as CorpusSource;
    const reader = await openCorpus(source);
    const origin = `${model.digest} ${await filesKey(reader.files)}`;
    if (corpus.storedFrom !== "" && corpus.storedFrom !== origin) {
      const [digest] = corpus.storedFrom.split(" ");
      const what = digest === model.digest ? "its files changed" : `${model.name} was replaced by another model`;
      throw failedPrecondition("CORPUS_CHANGED", `corpora/${id} is stored in part, and ${what} since; delete it and create it again`, { corpus: `corpora/${id}` });
    }
    catalogue.setCorpusOrigin(corpus.corpusId, origin, await vocabularies.store(model, signal));
    const total = source.maxDocuments ?? 0;
    const documents = skip(reader.documents(signal), corpus.nDocuments);
    let progress = corpus;
    const cutting = { contextSize: corpus.contextSize, bos: model.bosTokenId };
    const { blockSequences } = new BlockLayout(corpus.contextSize, 0);
    let chunk = new CorpusChunk(cutting, progress.nSequences);
    let unsure = true;
    const flush = async () => {
      progress = await this.#insert(progress, chunk, unsure ? await this.#storedAlready(progress, chunk, signal) : [], signal);
      unsure = false;
      chunk = new CorpusChunk(cutting, progress.nSequences);
      report({ documents: progress.nDocuments, totalDocuments: total });
    };
    for await (const document of tokenizeDocuments(peers, model.name, documents, signal)) {
      chunk.add(document);
      // Where chunks end depends on the documents alone, so a repeated attempt makes the same ones.
      if (chunk.nSequences >= blockSequences) await flush();
    }
    if (chunk.nDocuments > 0) await flush();
    if (progress.nTokens === 0) throw failedPrecondition("CORPUS_EMPTY", `corpora/${id}: ${source.uri} holds no text`);
    catalogue.setCorpusReady(corpus.corpusId, await corpusDigest(clickhouse, corpus.corpusId, signal));
    return this.#existing(id);
  }

  /**
   * Tables that hold this chunk although it was not noted: the attempt before ended between the two. ClickHouse remembers
   * only the last deduplication tokens, and this attempt may come long after.
   */
  async #storedAlready({ corpusId, nDocuments, nSequences }: CorpusRecord, chunk: CorpusChunk, signal: AbortSignal): Promise<string[]> {
    const { documents, sequences } = await this.#parts.clickhouse.row<{ documents: number; sequences: number }>(
      `SELECT (SELECT count() FROM ${T.documents} WHERE corpus_id = {corpusId:UInt32} AND doc_id >= {nDocuments:UInt32}) AS documents,
         (SELECT count() FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id >= {nSequences:UInt32}) AS sequences`,
      { corpusId, nDocuments, nSequences },
      { signal },
    );
    return [...(documents === chunk.nDocuments ? [T.documents] : []), ...(sequences === chunk.nSequences ? [T.sequences] : [])];
  }

  /** Inserts a chunk into the tables that do not hold it, and notes it. */
  async #insert(corpus: CorpusRecord, chunk: CorpusChunk, stored: readonly string[], signal: AbortSignal): Promise<CorpusRecord> {
    const { clickhouse, catalogue } = this.#parts;
    const insert = async (table: string, columns: readonly NativeColumn[]) => {
      if (columns[0]?.rows === 0 || stored.includes(table)) return;
      await clickhouse.insertColumns(table, columns, { signal, deduplicationToken: `${table}/${corpus.corpusId}/${corpus.chunks}` });
    };
    await insert(T.documents, chunk.documentColumns(corpus.corpusId));
    await insert(T.sequences, chunk.sequenceColumns(corpus.corpusId));
    const progress = {
      chunks: corpus.chunks + 1,
      nDocuments: corpus.nDocuments + chunk.nDocuments,
      nSequences: corpus.nSequences + chunk.nSequences,
      nTokens: corpus.nTokens + chunk.nTokens,
      nSpecialTokens: corpus.nSpecialTokens + chunk.nSpecialTokens,
    };
    catalogue.setCorpusProgress(corpus.corpusId, progress);
    return { ...corpus, ...progress };
  }

  #existing(id: string): CorpusRecord {
    const corpus = this.#parts.catalogue.corpus(id);
    if (corpus === undefined) throw failedPrecondition("CORPUS_DELETED", `corpora/${id} was deleted while it was being stored`);
    return corpus;
  }
}

async function* skip(documents: AsyncIterable<Document>, n: number): AsyncIterable<Document> {
  for await (const document of documents) if (document.docId >= n) yield document;
}

/** Changes when a file is added, taken away or written to. */
async function filesKey(files: readonly string[]): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    const { size, mtimeMs } = await stat(file);
    hash.update(JSON.stringify([file, size, mtimeMs]));
  }
  return hash.digest("hex");
}
