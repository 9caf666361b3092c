import { parentPort, workerData } from "node:worker_threads";
import { ClickHouse, encodeNativeBlock, type Login, type NativeColumn } from "@mistral-sae/clickhouse";
import type { WireSparseCodeInput } from "@mistral-sae/tensor";
import { T } from "../store/tables.ts";
import { serveTasks } from "../workers/worker-side.ts";
import { type BlockCode, blockCode } from "./block-code.ts";
import { postingColumns, sampleColumns } from "./block-columns.ts";
import { BlockSorter, specialMask } from "./block-sorter.ts";
import { type BlockMisses, nearMissColumns } from "./near-miss-columns.ts";

/** What a block worker is started with. */
export interface BlockWorkerData {
  readonly url: string;
  readonly login: Login;
}

/** A block to sort and store. */
export interface BlockTask {
  readonly indexId: number;
  readonly block: number;
  readonly dSae: number;
  readonly contextSize: number;
  readonly firstSequence: number;
  readonly lengths: Uint32Array;
  /** Indexes of the special tokens of each window. */
  readonly special: readonly (readonly number[])[];
  readonly codes: readonly (WireSparseCodeInput | BlockCode)[];
  readonly nearMisses: readonly BlockMisses[];
  readonly sampleStride: number;
  /** Fill `acts_f32` too. */
  readonly keepFloat32: boolean;
  /** Tables that hold this block already. */
  readonly stored: readonly string[];
}

/** What was stored. */
export interface BlockResult {
  readonly nActivations: number;
  readonly nSpecialActivations: number;
}

const { url, login } = workerData as BlockWorkerData;
const clickhouse = new ClickHouse({ url, login, maxConnections: 2 });
let sorter: { readonly dSae: number; readonly sorter: BlockSorter } | undefined;

serveTasks(parentPort, async (task: BlockTask) => {
  if (sorter?.dSae !== task.dSae) sorter = { dSae: task.dSae, sorter: new BlockSorter(task.dSae) };
  const codes = task.codes.map((code) => ("indices" in code ? code : blockCode(code, task.keepFloat32)));
  const special = specialMask(task.contextSize, task.special);
  const sorted = sorter.sorter.sort({ contextSize: task.contextSize, lengths: task.lengths, special }, codes);
  const { indexId, block, firstSequence, contextSize, lengths, sampleStride: stride } = task;
  const insert = async (table: string, columns: readonly NativeColumn[]) => {
    if (columns[0]?.rows === 0 || task.stored.includes(table)) return;
    const names = columns.map(({ name }) => name);
    await clickhouse.insertNative(table, names, encodeNativeBlock(columns), { deduplicationToken: `${indexId}/${block}` });
  };
  await insert(T.postings, postingColumns(indexId, block, sorted));
  await insert(T.sampledCodes, sampleColumns(indexId, { firstSequence, contextSize, lengths, special, stride }, codes));
  await insert(T.stagedNearMisses, nearMissColumns(indexId, { firstSequence, contextSize, lengths, special }, task.nearMisses));
  const result: BlockResult = { nActivations: sorted.pos.length, nSpecialActivations: sorted.nSpecial };
  return { result };
});
