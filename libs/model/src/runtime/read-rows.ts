import type { Reduction } from "../engine.ts";
import { packRows, type Batch } from "./batch.ts";

/** Which rows of a batch are read, and what is made of them. */
export interface RowReading {
  /** One byte a token of the batch's sequences, one after another: 1 where it is read; absent: everywhere. */
  readonly rows: Uint8Array | undefined;
  /** The rows of each sequence made into one. */
  readonly reduction: Reduction | undefined;
}

/** [sequences + 1] first row of each sequence among those that are read. */
export function readOffsets({ lengths }: Batch, { rows, reduction }: RowReading): Uint32Array {
  const offsets = new Uint32Array(lengths.length + 1);
  let at = 0;
  for (const [b, length] of lengths.entries()) {
    let count = rows === undefined ? length : 0;
    if (rows !== undefined) for (let t = 0; t < length; t++) count += rows[at + t]!;
    offsets[b + 1] = offsets[b]! + (reduction === undefined ? count : Math.min(count, 1));
    at += length;
  }
  return offsets;
}

/** The rows that are read of [B, S, d], sequence after sequence: the array itself when that is all of it. Means are summed in f64. */
export function readRows(batch: Batch, x: Float32Array, d: number, reading: RowReading): Float32Array {
  const { rows, reduction } = reading;
  if (rows === undefined && reduction === undefined) return packRows(batch, x, d);
  const offsets = readOffsets(batch, reading);
  const read = new Float32Array(offsets[batch.size]! * d);
  const sums = new Float64Array(reduction === "mean" ? d : 0);
  let token = 0;
  for (let b = 0; b < batch.size; b++) {
    let at = offsets[b]! * d;
    let count = 0;
    sums.fill(0);
    for (let t = 0; t < batch.lengths[b]!; t++, token++) {
      if (rows !== undefined && rows[token] === 0) continue;
      const from = (b * batch.steps + t) * d;
      count++;
      if (reduction === "mean") for (let i = 0; i < d; i++) sums[i] = sums[i]! + x[from + i]!;
      else if (reduction === "max" && count > 1) for (let i = 0; i < d; i++) read[at + i] = Math.max(read[at + i]!, x[from + i]!);
      else read.set(x.subarray(from, from + d), at);
      if (reduction === undefined) at += d;
    }
    if (reduction === "mean" && count > 0) for (let i = 0; i < d; i++) read[at + i] = sums[i]! / count;
  }
  return read;
}
