import type { Login } from "@mistral-sae/clickhouse";
import type { WireSparseCodeInput } from "@mistral-sae/tensor";
import type { BlockCode } from "../blocks/block-code.ts";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { BlockResult, BlockTask, BlockWorkerData } from "../blocks/block-worker.ts";
import type { BlockMisses } from "../blocks/near-miss-columns.ts";
import { WorkerPool } from "../workers/worker-pool.ts";
import type { StoredBlocks } from "./stored-blocks.ts";

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
  /** Threads of `block-worker.ts`. */
  readonly sorters: WorkerPool;
  readonly stored: StoredBlocks;
}

/** Threads that sort blocks and insert them. */
export function blockWorkers(url: string, login: Login, threads: number): WorkerPool {
  return new WorkerPool(new URL("../blocks/block-worker.ts", import.meta.url), threads, { url, login } satisfies BlockWorkerData);
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
  /**
   * One row a token, window after window, cut anywhere. On memory of their own, which is handed over, or on shared memory,
   * which may be used again once the block is stored. A message's code is checked; what is a block's code already, on shared
   * memory, has been.
   */
  readonly codes: readonly (WireSparseCodeInput | BlockCode)[];
  /** Features that came closest to firing on some of the rows, in order; on memory of their own. */
  readonly nearMisses?: readonly BlockMisses[];
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
 * Stores the activations of one block. The same block gives the same inserts with the same deduplication tokens, and what
 * an earlier attempt stored is left out, so repeating it stores nothing twice. An abort is heeded when the inserts under
 * way have ended: nothing is written after the call has come back.
 * @throws InputError when codes and windows do not match, a feature is outside the SAE or comes twice on a token, or an
 * activation is no positive number.
 */
export async function storeBlock({ sorters, stored }: StoreParts, place: BlockPlace, { lengths, special, codes, nearMisses = [] }: BlockCodes, options: StoreOptions): Promise<BlockSummary> {
  const { indexId, block, dSae, contextSize } = place;
  const { signal, sampleStride, keepFloat32 = false } = options;
  const { start: firstSequence } = new BlockLayout(contextSize, 0).sequencesOf(block);
  const inTables = await stored.tablesWith(indexId, contextSize, block);
  signal.throwIfAborted();
  const task: BlockTask = { indexId, block, dSae, contextSize, firstSequence, lengths, special, codes, nearMisses, sampleStride, keepFloat32, stored: inTables };
  try {
    const { nActivations, nSpecialActivations } = await sorters.run<BlockResult>(task, [...codes, ...nearMisses.map(({ code }) => code)].flatMap(buffersOf));
    signal.throwIfAborted();
    const nTokens = lengths.reduce((sum, length) => sum + length, 0);
    return { block, nTokens, nSpecialTokens: special.reduce((sum, tokens) => sum + tokens.length, 0), nActivations, nSpecialActivations };
  } catch (error) {
    stored.forget(indexId);
    throw error;
  }
}

/** A code on memory of its own, which can be handed over; a message's fields share the message's memory. */
export function ownedCode({ nTokens, k, dSae, featureIndices, activations, activationDtype, rowOffsets }: WireSparseCodeInput): WireSparseCodeInput {
  // Not slice(): of a Buffer that would be a view again.
  const copy = (bytes: Uint8Array) => new Uint8Array(bytes);
  return { nTokens, k, dSae, activationDtype, featureIndices: copy(featureIndices), activations: copy(activations), rowOffsets: rowOffsets === undefined ? undefined : copy(rowOffsets) };
}

function buffersOf(code: WireSparseCodeInput | BlockCode): ArrayBuffer[] {
  if ("indices" in code) return [];
  const { featureIndices, activations, rowOffsets } = code;
  return [featureIndices, activations, rowOffsets].map((bytes) => bytes?.buffer).filter((buffer) => buffer instanceof ArrayBuffer);
}
