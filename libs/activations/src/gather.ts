import { DTYPE_BYTES, f32FromBytes, type FloatDType } from "@mistral-sae/tensor";

/** Rows of several shards, addressed by one running number. Does not own the shards' bytes. */
export class RowGatherer {
  readonly #width: number;
  readonly #dtype: FloatDType;
  readonly #starts: Uint32Array;
  readonly #shards: readonly Uint8Array[];
  /** The shards as pairs of bf16, where rows start on whole pairs. */
  readonly #pairs: readonly Uint32Array[] | undefined;

  /** `shards` are [rows, width] of `dtype`, each starting on a multiple of 8 bytes. */
  constructor(shards: readonly Uint8Array[], width: number, dtype: FloatDType) {
    const rowSize = width * DTYPE_BYTES[dtype];
    let rows = 0;
    this.#starts = Uint32Array.from(shards, (shard) => {
      const start = rows;
      rows += shard.length / rowSize;
      return start;
    });
    this.#width = width;
    this.#dtype = dtype;
    this.#shards = shards;
    this.#pairs = dtype === "BF16" && width % 2 === 0 ? shards.map((shard) => new Uint32Array(shard.buffer, shard.byteOffset, shard.length >>> 2)) : undefined;
  }

  /** Copies row `row` to `target[to …]` as f32; `bits` is `target` seen as u32. */
  copyRow(row: number, target: Float32Array, bits: Uint32Array, to: number): void {
    const shard = this.#shardOf(row);
    const local = row - (this.#starts[shard] as number);
    const pairs = this.#pairs?.[shard];
    if (pairs === undefined) this.#convertRow(shard, local, target, to);
    else widenPairs(pairs, (local * this.#width) >>> 1, this.#width >>> 1, bits, to);
  }

  #convertRow(shard: number, local: number, target: Float32Array, to: number): void {
    const size = this.#width * DTYPE_BYTES[this.#dtype];
    const bytes = (this.#shards[shard] as Uint8Array).subarray(local * size, (local + 1) * size);
    f32FromBytes(this.#dtype, bytes, target.subarray(to, to + this.#width));
  }

  #shardOf(row: number): number {
    const starts = this.#starts;
    let low = 0;
    for (let high = starts.length; high - low > 1; ) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) <= row) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Two bf16 a word: the even value in the low half. */
function widenPairs(pairs: Uint32Array, from: number, count: number, bits: Uint32Array, to: number): void {
  for (let pair = 0; pair < count; pair += 1) {
    const word = pairs[from + pair] as number;
    bits[to + 2 * pair] = word << 16;
    bits[to + 2 * pair + 1] = word & 0xffff0000;
  }
}
