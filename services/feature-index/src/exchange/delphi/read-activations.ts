import type { ClickHouse } from "@mistral-sae/clickhouse";
import { aligned } from "@mistral-sae/tensor";
import { ACTS_F32 } from "../../store/activations-sql.ts";
import { RowReader } from "../../store/row-reader.ts";
import { T } from "../../store/tables.ts";

/** One feature's activations in one block, those on special tokens among them, by position; views that are valid while they are handled. */
export type ActivationHandler = (feature: number, block: number, pos: Uint16Array, acts: Float32Array) => void;

/** Hands over the activations of features from `start` up to `end`, unrounded where they were kept so. */
export async function readActivations(clickhouse: ClickHouse, { indexId, start, end }: { readonly indexId: number; readonly start: number; readonly end: number }, handle: ActivationHandler): Promise<void> {
  const reader = new RowReader((row) => {
    const feature = row.u32();
    const block = row.u32();
    const pos = aligned(row.array(2), 2);
    const acts = aligned(row.array(4), 4);
    handle(feature, block, new Uint16Array(pos.buffer, pos.byteOffset, pos.byteLength / 2), new Float32Array(acts.buffer, acts.byteOffset, acts.byteLength / 4));
  });
  const sql = `SELECT feature_index, block, arraySort(groupArrayArray(pos)) AS positions, arraySort((act, at) -> at, groupArrayArray(values), groupArrayArray(pos)) AS activations
    FROM (SELECT feature_index, block, pos, ${ACTS_F32} AS values FROM ${T.postings} WHERE index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32})
    GROUP BY feature_index, block ORDER BY feature_index, block`;
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { indexId, start, end }, { settings: { max_threads: 1, max_block_size: "4096" } })) reader.push(chunk);
  reader.end();
}
