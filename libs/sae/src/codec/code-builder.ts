import { topK } from "@mistral-sae/tensor";
import type { Fired } from "./activate.ts";

/** Collects codes row after row in arrays that grow; pairs of a row are put in descending order of their values. */
export class CodeBuilder {
  readonly #rowOffsets: Uint32Array;
  #indices: Uint32Array;
  #values: Float32Array;
  #row = 0;

  /** @param pairsPerRow a first guess of how many pairs a row has. */
  constructor(rows: number, pairsPerRow: number) {
    this.#rowOffsets = new Uint32Array(rows + 1);
    this.#indices = new Uint32Array(rows * pairsPerRow);
    this.#values = new Float32Array(rows * pairsPerRow);
  }

  /** Appends the first `count` pairs of `fired` as the next row. */
  append({ indices, values }: Fired, count: number): void {
    const at = this.#rowOffsets[this.#row]!;
    this.#reserve(at + count);
    if (descends(values, count)) {
      this.#indices.set(indices.subarray(0, count), at);
      this.#values.set(values.subarray(0, count), at);
    } else {
      topK(values.subarray(0, count), count, this.#indices, this.#values, at);
      for (let i = at; i < at + count; i++) this.#indices[i] = indices[this.#indices[i]!]!;
    }
    this.#row++;
    this.#rowOffsets[this.#row] = at + count;
  }

  /** The rows appended so far; views of the builder's memory. */
  finish(): { indices: Uint32Array; values: Float32Array; rowOffsets: Uint32Array } {
    const pairs = this.#rowOffsets[this.#row]!;
    return { indices: this.#indices.subarray(0, pairs), values: this.#values.subarray(0, pairs), rowOffsets: this.#rowOffsets };
  }

  #reserve(pairs: number): void {
    if (pairs <= this.#indices.length) return;
    const size = Math.max(pairs, 2 * this.#indices.length);
    const indices = new Uint32Array(size);
    const values = new Float32Array(size);
    indices.set(this.#indices);
    values.set(this.#values);
    this.#indices = indices;
    this.#values = values;
  }
}

function descends(values: Float32Array, count: number): boolean {
  for (let i = 1; i < count; i++) if (values[i]! > values[i - 1]!) return false;
  return true;
}
