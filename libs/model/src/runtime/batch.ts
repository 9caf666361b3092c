import { Tensor } from "onnxruntime-node";
import type { SequenceEdits } from "../edits/compiled.ts";
import type { CacheRow, KvArena } from "./kv-arena.ts";
import type { Feeds } from "./session.ts";

/** Where a batch's keys and values come from and go to. */
export type BatchCache =
  /** Nothing is cached before or after. */
  | { readonly kind: "none" }
  /** Nothing before; the new positions are kept in `rows`. */
  | { readonly kind: "fresh"; readonly rows: readonly CacheRow[] }
  /** Rows `first` to `first` + B − 1 of an arena, read and appended to. */
  | { readonly kind: "rows"; readonly arena: KvArena; readonly first: number; readonly rows: readonly CacheRow[] };

/** Token rows that run together: B sequences of up to S tokens, right-padded. */
export interface Batch {
  readonly size: number;
  /** S */
  readonly steps: number;
  /** [B, S]; padding is token 0. */
  readonly tokens: Uint32Array;
  /** [B] tokens that are not padding. */
  readonly lengths: Uint32Array;
  /** [B] positions before the first token. */
  readonly past: Uint32Array;
  /** [B] */
  readonly edits: readonly (SequenceEdits | undefined)[];
  readonly cache: BatchCache;
}

/** A sequence's part in a batch. */
export interface BatchRow {
  readonly tokens: Uint32Array;
  readonly past: number;
  readonly edits: SequenceEdits | undefined;
}

/** Puts rows into a batch. */
export function makeBatch(rows: readonly BatchRow[], cache: BatchCache): Batch {
  const size = rows.length;
  const steps = rows.reduce((most, row) => Math.max(most, row.tokens.length), 0);
  const tokens = new Uint32Array(size * steps);
  for (const [b, row] of rows.entries()) tokens.set(row.tokens, b * steps);
  return {
    size,
    steps,
    tokens,
    lengths: Uint32Array.from(rows, (row) => row.tokens.length),
    past: Uint32Array.from(rows, (row) => row.past),
    edits: rows.map((row) => row.edits),
    cache,
  };
}

/** The inputs of every segment that are the same for all of them. */
export function positionFeeds(batch: Batch): Feeds {
  const { size, steps, lengths, past } = batch;
  const last = new Int32Array(size);
  let total = 0;
  for (let b = 0; b < size; b++) {
    const start = past[b]!;
    last[b] = start + lengths[b]! - 1;
    total = Math.max(total, start + steps);
  }
  return {
    seqlens_k: new Tensor("int32", last, [size]),
    total_sequence_length: new Tensor("int32", Int32Array.of(total), []),
  };
}

/** The input of the first segment. */
export function tokenFeed(batch: Batch): Tensor {
  return new Tensor("int64", BigInt64Array.from(batch.tokens, BigInt), [batch.size, batch.steps]);
}

/** Rows of all sequences of a batch without their padding. */
export function countRows(batch: Batch): number {
  return batch.lengths.reduce((sum, length) => sum + length, 0);
}

/** [B, S, d] without padding, [rows, d]: the array itself when there is no padding. */
export function packRows(batch: Batch, x: Float32Array, d: number): Float32Array {
  const rows = countRows(batch);
  if (rows === batch.size * batch.steps) return x;
  const packed = new Float32Array(rows * d);
  let at = 0;
  for (let b = 0; b < batch.size; b++) {
    const start = b * batch.steps * d;
    packed.set(x.subarray(start, start + batch.lengths[b]! * d), at);
    at += batch.lengths[b]! * d;
  }
  return packed;
}

/** The row of each sequence's last token, [B, d]. */
export function lastRows(batch: Batch, x: Float32Array, d: number): Float32Array {
  const rows = new Float32Array(batch.size * d);
  for (let b = 0; b < batch.size; b++) {
    const start = (b * batch.steps + batch.lengths[b]! - 1) * d;
    rows.set(x.subarray(start, start + d), b * d);
  }
  return rows;
}
