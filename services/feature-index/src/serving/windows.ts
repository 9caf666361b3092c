import type { ClickHouse } from "@mistral-sae/clickhouse";
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
}

const columns: Columns<StoredWindow> = {
  sequence: ["sequence_id", (row) => row.u32()],
  doc: ["doc_id", (row) => row.u32()],
  source: ["source", (row) => row.text()],
  tokenStart: ["token_start", (row) => row.u32()],
  tokens: ["tokens", (row) => row.u32s()],
  special: ["special", (row) => row.u16s()],
};

// Numbers of windows go into a query's address, which must not grow without bound.
const WINDOWS_A_READ = 8_192;

/** Windows by number. */
export async function readWindows(clickhouse: ClickHouse, corpusId: number, sequences: readonly number[]): Promise<ReadonlyMap<number, StoredWindow>> {
  const wanted = [...new Set(sequences)].sort((a, b) => a - b);
  const found = new Map<number, StoredWindow>();
  for (let start = 0; start < wanted.length; start += WINDOWS_A_READ) {
    const some = wanted.slice(start, start + WINDOWS_A_READ);
    const rows = await smallRows(clickhouse, columns, `FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id IN {sequences:Array(UInt32)}`, { corpusId, sequences: some });
    for (const row of rows) found.set(row.sequence, row);
  }
  return found;
}
