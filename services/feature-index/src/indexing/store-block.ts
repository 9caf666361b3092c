import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { WireSparseCodeInput } from "@mistral-sae/tensor";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { BlockResult, BlockTask, EncodedRows } from "../blocks/block-worker.ts";
import { T } from "../store/tables.ts";
import type { WorkerPool } from "../workers/worker-pool.ts";

/** What a block held; part of a ledger. */
export interface BlockSummary {
  readonly block: number;
  /** Special tokens included. */
  readonly nTokens: number;
  readonly nSpecialTokens: number;
  /** Activations on special tokens included. */
  readonly nActivations: number;
  readonly nSpecialActivations: number;
}

/** What storing blocks works with. */
export interface StoreParts {
  readonly clickhouse: ClickHouse;
  /** Runs BlockTasks. */
  readonly sorters: WorkerPool;
}

/** Where a block belongs. */
export interface BlockPlace {
  readonly indexId: number;
  readonly dSae: number;
  readonly contextSize: number;
  readonly block: number;
}

/** The windows of a block in order, and their codes. */
export interface BlockCodes {
  /** Tokens of each window: at most contextSize, and as many windows as a block holds or, in the last block, fewer. */
  readonly lengths: Uint32Array;
  /** Indexes of the special tokens of each window. */
  readonly special: readonly (readonly number[])[];
  /** One row a token, window after window, cut anywhere. On memory of their own (ArrayBuffer), which is handed over. */
  readonly codes: readonly WireSparseCodeInput[];
}

/** How a block is stored. */
export interface StoreOptions {
  /** One token in this many keeps its whole code. */
  readonly sampleStride: number;
  /** Keep the Float32 of each activation beside its bfloat16: `acts_f32` of `postings`. */
  readonly keepFloat32?: boolean;
  readonly signal: AbortSignal;
}

/**
 * Stores the activations of one block. The same block gives the same inserts with the same deduplication tokens, so
 * repeating it stores nothing twice.
 * @throws InputError when codes and windows do not match, a feature is outside the SAE, or an activation is no positive number.
 */
export async function storeBlock({ clickhouse, sorters }: StoreParts, place: BlockPlace, { lengths, special, codes }: BlockCodes, options: StoreOptions): Promise<BlockSummary> {
  const { indexId, block, dSae, contextSize } = place;
  const { signal, sampleStride, keepFloat32 = false } = options;
  const { start: firstSequence } = new BlockLayout(contextSize, 0).sequencesOf(block);
  const task: BlockTask = { indexId, block, dSae, contextSize, firstSequence, lengths, special, codes, sampleStride, keepFloat32 };
  const { postings, sample, nActivations, nSpecialActivations } = await sorters.run<BlockResult>(task, codes.flatMap(buffersOf));
  signal.throwIfAborted();
  const insert = async (table: string, { rows, names, bytes }: EncodedRows) => {
    if (rows > 0) await clickhouse.insertNative(table, names, [bytes], { signal, deduplicationToken: `${indexId}/${block}` });
  };
  await insert(T.postings, postings);
  await insert(T.sampledCodes, sample);
  const nTokens = lengths.reduce((sum, length) => sum + length, 0);
  return { block, nTokens, nSpecialTokens: special.reduce((sum, tokens) => sum + tokens.length, 0), nActivations, nSpecialActivations };
}

/** A code on memory of its own, which can be handed over; a message's fields share the message's memory. */
export function ownedCode({ nTokens, k, dSae, featureIndices, activations, activationDtype, rowOffsets }: WireSparseCodeInput): WireSparseCodeInput {
  // Not slice(): of a Buffer that would be a view again.
  const copy = (bytes: Uint8Array) => new Uint8Array(bytes);
  return { nTokens, k, dSae, activationDtype, featureIndices: copy(featureIndices), activations: copy(activations), rowOffsets: rowOffsets === undefined ? undefined : copy(rowOffsets) };
}

function buffersOf({ featureIndices, activations, rowOffsets }: WireSparseCodeInput): ArrayBuffer[] {
  return [featureIndices, activations, rowOffsets].filter((bytes) => bytes !== undefined).map(({ buffer }) => buffer as ArrayBuffer);
}
