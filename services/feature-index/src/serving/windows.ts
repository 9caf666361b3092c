import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { CorpusSource } from "@mistral-sae/corpus";
import type { CorpusRecord } from "../catalogue/records.ts";
import { type Columns, smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";

/** A stored window of tokens. */
export interface StoredWindow {
  readonly sequence: number;
  readonly doc: number;
  readonly source: string;
  readonly tokenStart: number;
  /** BOS included. */
  readonly tokens: readonly number[];
  /** Indexes of the special ones. */
  readonly special: readonly number[];
  /** What its corpus keeps of its document's record, as JSON; "" where nothing. */
  readonly metadata: string;
}

const columns: Columns<Omit<StoredWindow, "metadata">> = {
  sequence: ["sequence_id", (row) => row.u32()],
  doc: ["doc_id", (row) => row.u32()],
  source: ["source", (row) => row.text()],
  tokenStart: ["token_start", (row) => row.u32()],
  tokens: ["tokens", (row) => row.u32s()],
  special: ["special", (row) => row.u16s()],
};

// Numbers of windows go into a query's address, which must not grow without bound.
const WINDOWS_A_READ = 8_192;

const metadataColumns: Columns<{ doc: number; metadata: string }> = {
  doc: ["doc_id", (row) => row.u32()],
  metadata: ["metadata", (row) => row.text()],
};

/** Windows by number. */
export async function readWindows(clickhouse: ClickHouse, corpus: Pick<CorpusRecord, "corpusId" | "source">, sequences: readonly number[]): Promise<ReadonlyMap<number, StoredWindow>> {
  const { corpusId } = corpus;
  const wanted = [...new Set(sequences)].sort((a, b) => a - b);
  const found = new Map<number, StoredWindow>();
  for (let start = 0; start < wanted.length; start += WINDOWS_A_READ) {
    const some = wanted.slice(start, start + WINDOWS_A_READ);
    const rows = await smallRows(clickhouse, columns, `FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id IN {sequences:Array(UInt32)}`, { corpusId, sequences: some });
    const metadata = await readMetadata(clickhouse, corpus, rows.map(({ doc }) => doc));
    for (const row of rows) found.set(row.sequence, { ...row, metadata: metadata.get(row.doc) ?? "" });
  }
  return found;
}

/** Metadata of documents by number; asked for only where the corpus keeps any. */
async function readMetadata(clickhouse: ClickHouse, { corpusId, source }: Pick<CorpusRecord, "corpusId" | "source">, docs: readonly number[]): Promise<ReadonlyMap<number, string>> {
  const { metadataFields = [] } = JSON.parse(source) as CorpusSource;
  if (metadataFields.length === 0) return new Map();
  const wanted = [...new Set(docs)].sort((a, b) => a - b);
  const rows = await smallRows(clickhouse, metadataColumns, `FROM ${T.documents} WHERE corpus_id = {corpusId:UInt32} AND doc_id IN {docs:Array(UInt32)}`, { corpusId, docs: wanted });
  return new Map(rows.map(({ doc, metadata }) => [doc, metadata]));
}
