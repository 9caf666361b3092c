import type { ClickHouse } from "@mistral-sae/clickhouse";
import { T } from "../store/tables.ts";
import { pointRead } from "./point-read.ts";

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

/** Windows by number. */
export async function readWindows(clickhouse: ClickHouse, corpusId: number, sequences: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, StoredWindow>> {
  if (sequences.length === 0) return new Map();
  const rows = await clickhouse.rows<StoredWindow>(
    `SELECT sequence_id AS sequence, doc_id AS doc, source, token_start AS tokenStart, tokens, special FROM ${T.sequences}
     WHERE corpus_id = {corpusId:UInt32} AND sequence_id IN {sequences:Array(UInt32)}`,
    { corpusId, sequences: [...new Set(sequences)] },
    { signal, settings: pointRead },
  );
  return new Map(rows.map((row) => [row.sequence, row]));
}
