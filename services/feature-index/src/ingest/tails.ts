import type { ClickHouse } from "@mistral-sae/clickhouse";
import { u16View, u32View } from "@mistral-sae/tensor";
import type { BlockCode } from "../blocks/block-code.ts";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import type { BlockAssembly, PlacedWindow } from "./block-assembly.ts";

/** The windows that wait after a shard's `filled` blocks. */
export interface Tail {
  readonly indexId: number;
  readonly shard: number;
  readonly filled: number;
}

/** Stores the windows of an assembly from the given place on. */
export async function storeTail(clickhouse: ClickHouse, tail: Tail, assembly: BlockAssembly, from: number, signal: AbortSignal): Promise<void> {
  // The clock, so that what is sent anew replaces what was sent and never acknowledged.
  const columns = assembly.tailColumns({ ...tail, version: BigInt(Date.now()) }, from);
  await clickhouse.insertColumns(T.ingestTails, columns, { signal });
}

/** Puts the first windows of a tail, from the given place up to another, into an assembly. */
export async function loadTail(clickhouse: ClickHouse, { indexId, shard, filled }: Tail, from: number, to: number, dSae: number, assembly: BlockAssembly, signal: AbortSignal): Promise<void> {
  let place = from;
  const reader = new RowReader((row) => {
    const window: PlacedWindow = { docId: row.u32(), source: row.text(), tokenStart: row.u32(), tokenIds: row.u32s(), special: row.u16s() };
    const rowOffsets = new Uint32Array(window.tokenIds.length + 1);
    for (const [i, length] of row.u32s().entries()) rowOffsets[i + 1] = (rowOffsets[i] as number) + length;
    const code: BlockCode = { nTokens: window.tokenIds.length, k: 0, dSae, indices: u32View(row.array(4)), acts: u16View(row.array(2)), rowOffsets };
    assembly.add([window], code, 0);
    place += 1;
  });
  const sql = `SELECT doc_id, toString(source) AS source, token_start, tokens, special, row_lengths, features, acts FROM ${T.ingestTails} FINAL
    WHERE index_id = {indexId:UInt32} AND shard = {shard:UInt32} AND filled = {filled:UInt32} AND place >= {from:UInt32} AND place < {to:UInt32} ORDER BY place`;
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { indexId, shard, filled, from, to }, { signal })) reader.push(chunk);
  reader.end();
  if (place !== to) throw new Error(`shard ${shard} of index ${indexId} has ${place} windows that wait for a block, wanted ${to}`);
}
