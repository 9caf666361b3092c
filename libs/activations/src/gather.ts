import { DTYPE_BYTES, f32FromBytes, type FloatDType } from "@mistral-sae/tensor";

/** Rows of several shards, addressed by one running number. Does not own the shards' bytes. */
export class RowGatherer {
  readonly #width: number;
  readonly #starts: Uint32Array;
  readonly #shards: readonly Uint16Array[] | undefined;
  readonly #bytes: readonly Uint8Array[];
  readonly #dtype: FloatDType;

  /** `shards` are [rows, width] of `dtype`, each starting on a multiple of its width. */
  constructor(shards: readonly Uint8Array[], width: number, dtype: FloatDType) {
    const rowSize = width * DTYPE_BYTES[dtype];
    let rows = 0;
    this.#starts = Uint32Array.from(shards, (shard) => {
      const start = rows;
      rows += shard.length / rowSize;
      return start;
    });
    this.#width = width;
    this.#bytes = shards;
    this.#dtype = dtype;
    this.#shards = dtype === "BF16" ? shards.map((shard) => new Uint16Array(shard.buffer, shard.byteOffset, shard.length >>> 1)) : undefined;
  }

  /** Copies row `row` to `target[at * width …]` as f32; `bits` is `target` seen as u32. */
  copyRow(row: number, target: Float32Array, bits: Uint32Array, at: number): void {
    const shard = this.#shardOf(row);
    const width = this.#width;
    const local = row - (this.#starts[shard] ?? 0);
    const to = at * width;
    const words = this.#shards?.[shard];
    if (words === undefined) {
      const size = width * DTYPE_BYTES[this.#dtype];
      const bytes = this.#bytes[shard] as Uint8Array;
      f32FromBytes(this.#dtype, bytes.subarray(local * size, (local + 1) * size), target.subarray(to, to + width));
      return;
    }
    const from = local * width;
    for (let value = 0; value < width; value += 1) bits[to + value] = (words[from + value] as number) << 16;
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
