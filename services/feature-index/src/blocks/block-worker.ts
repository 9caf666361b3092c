import { parentPort } from "node:worker_threads";
import { encodeNativeBlock, joinParts, type NativeColumn } from "@mistral-sae/clickhouse";
import type { WireSparseCodeInput } from "@mistral-sae/tensor";
import { serveTasks } from "../workers/worker-side.ts";
import { blockCode } from "./block-code.ts";
import { postingColumns, sampleColumns } from "./block-columns.ts";
import { BlockSorter, specialMask } from "./block-sorter.ts";

/** A block to sort. */
export interface BlockTask {
  readonly indexId: number;
  readonly block: number;
  readonly dSae: number;
  readonly contextSize: number;
  readonly firstSequence: number;
  readonly lengths: Uint32Array;
  /** Indexes of the special tokens of each window. */
  readonly special: readonly (readonly number[])[];
  readonly codes: readonly WireSparseCodeInput[];
  readonly sampleStride: number;
  /** Fill `acts_f32` too. */
  readonly keepFloat32: boolean;
}

/** A block as it goes into the tables. */
export interface BlockResult {
  readonly postings: EncodedRows;
  readonly sample: EncodedRows;
  readonly nActivations: number;
  readonly nSpecialActivations: number;
}

/** The bytes of a Native block. */
export interface EncodedRows {
  readonly rows: number;
  readonly names: readonly string[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}

let sorter: { readonly dSae: number; readonly sorter: BlockSorter } | undefined;

serveTasks(parentPort, (task: BlockTask) => {
  if (sorter?.dSae !== task.dSae) sorter = { dSae: task.dSae, sorter: new BlockSorter(task.dSae) };
  const codes = task.codes.map((code) => blockCode(code, task.keepFloat32));
  const special = specialMask(task.contextSize, task.special);
  const sorted = sorter.sorter.sort({ contextSize: task.contextSize, lengths: task.lengths, special }, codes);
  const { firstSequence, contextSize, lengths, sampleStride: stride } = task;
  const postings = encoded(postingColumns(task.indexId, task.block, sorted));
  const sample = encoded(sampleColumns(task.indexId, { firstSequence, contextSize, lengths, special, stride }, codes));
  const result: BlockResult = { postings, sample, nActivations: sorted.pos.length, nSpecialActivations: sorted.nSpecial };
  return { result, transfer: [postings.bytes.buffer, sample.bytes.buffer] };
});

function encoded(columns: readonly NativeColumn[]): EncodedRows {
  return { rows: columns[0]?.rows ?? 0, names: columns.map(({ name }) => name), bytes: joinParts(encodeNativeBlock(columns)) };
}
