import { createHash } from "node:crypto";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";

/** SHA-256 (hex) over a corpus' token ids in order, as u32 little-endian, read back from the table. */
export async function corpusDigest(clickhouse: ClickHouse, corpusId: number, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const sql = `SELECT tokens FROM ${T.sequences} WHERE corpus_id = {id:UInt32} ORDER BY sequence_id`;
  const reader = new RowReader((row) => hash.update(row.array(4)));
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { id: corpusId }, { signal })) reader.push(chunk);
  reader.end();
  return hash.digest("hex");
}
