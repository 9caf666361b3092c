import type { EncodedBatch, EncodedRows } from "@mistral-sae/model";
import { bytesOf, type WireSparseCode } from "@mistral-sae/tensor";
import { concatCodes, mergeCodes } from "./merge-codes.ts";

/** Near-misses of several batches in one piece. */
export interface MergedMisses {
  readonly code: WireSparseCode;
  /** F32, one a pair. */
  readonly thresholds: Uint8Array;
}

/** Those of sequences that ran in other order, in the order of the sequences; all batches have them. */
export function mergeMisses(batches: readonly EncodedBatch[], lengths: readonly number[]): MergedMisses {
  const merged = (codeOf: (batch: EncodedBatch) => WireSparseCode) => mergeCodes(batches.map((batch) => ({ ...batch, code: codeOf(batch) })), lengths);
  return { code: merged(missesOf), thresholds: merged(thresholdsOf).activations };
}

/** Those of rows, run after run; all runs have them. */
export function concatMisses(runs: readonly EncodedRows[]): MergedMisses {
  return { code: concatCodes(runs.map(missesOf), "F32"), thresholds: concatCodes(runs.map(thresholdsOf), "F32").activations };
}

function missesOf({ nearMisses }: Pick<EncodedRows, "nearMisses">): WireSparseCode {
  if (nearMisses === undefined) throw new RangeError("the engine gave no near-misses");
  return nearMisses.code;
}

/** The thresholds in the place of the pre-activations: they go where those go. */
function thresholdsOf(run: Pick<EncodedRows, "nearMisses">): WireSparseCode {
  return { ...missesOf(run), activations: bytesOf(run.nearMisses?.thresholds ?? new Float32Array()) };
}
