import { InputError } from "@mistral-sae/tensor";
import { instantiateKernels, type Kernels } from "./kernels.ts";
import type { SharedTrainer, TrainerMemory } from "./trainer-memory.ts";
import type { TrainerLayout } from "./layout.ts";

/** Element types of stored rows. */
export type RowDType = "F32" | "F16" | "BF16";

const rowDTypeBytes = { F32: 4, F16: 2, BF16: 2 } as const satisfies Record<RowDType, number>;

/** Rows of d_in columns, of a transcoder d_in + d_out, that lie in the trainer's row store. */
export interface StoredRows {
  readonly dtype: RowDType;
  /** First byte in the row store; a multiple of 16 is fastest. */
  readonly offset: number;
  /** Rows there. */
  readonly count: number;
}

/**
 * Puts stored rows into batches without a copy in between: rows lie in the trainer's own memory and are widened to f32 from there.
 * Works in any thread that gets the trainer's `shared`. The slot must not be in use by a step.
 */
export class BatchWriter {
  /** The row store: fill it with whole shards, [n, columns] row-major. Owned by the loader; the trainer never touches it. */
  readonly rowStore: Uint8Array;
  readonly #kernels: Kernels;
  readonly #layout: TrainerLayout;
  readonly #buffer: ArrayBufferLike;

  constructor({ module, memory, layout }: SharedTrainer) {
    this.#kernels = instantiateKernels(module, memory);
    this.#layout = layout;
    this.#buffer = memory.buffer;
    this.rowStore = new Uint8Array(memory.buffer, layout.rowStore.at, layout.rowStore.bytes);
  }

  /** Rows of a batch. */
  get batchRows(): number {
    return this.#layout.batch;
  }

  /** Bytes that `count` rows take in the row store. */
  bytesOf(dtype: RowDType, count: number): number {
    return rowDTypeBytes[dtype] * count * this.#layout.rowColumns;
  }

  /**
   * Writes the rows numbered by `picks` (u32, within `rows`) to the slot's rows from `at` on.
   * Throws InputError for a slot, a place or a row that does not exist.
   */
  write(slot: number, at: number, rows: StoredRows, picks: Uint32Array): void {
    const { slots, rowLists, batch, rowColumns: d, rowStride: stride, rowStore } = this.#layout;
    const list = rowLists[slot];
    if (list === undefined) throw new InputError("no such batch slot", { field: "slot", got: slot, wanted: `0 to ${slots.length - 1}` });
    if (at < 0 || at + picks.length > batch) throw new InputError("the rows do not fit the batch", { field: "at", got: `rows ${at} to ${at + picks.length}`, wanted: `within ${batch} rows` });
    const end = rows.offset + this.bytesOf(rows.dtype, rows.count);
    if (rows.offset < 0 || end > rowStore.bytes) throw new InputError("the rows lie outside the row store", { field: "offset", got: `bytes ${rows.offset} to ${end}`, wanted: `within ${rowStore.bytes} bytes` });
    for (const pick of picks) {
      if (pick >= rows.count) throw new InputError("no such stored row", { field: "picks", got: pick, wanted: `0 to ${rows.count - 1}` });
    }
    new Uint32Array(this.#buffer, list, picks.length).set(picks);
    const widen = { F32: this.#kernels.widenF32, F16: this.#kernels.widenF16, BF16: this.#kernels.widenBf16 }[rows.dtype];
    widen(rowStore.at + rows.offset, list, picks.length, slots[slot]! + at * stride, d, stride);
  }
}

/** Copies contiguous f32 rows without padding to a slot's rows from `at` on. */
export function copyRows(memory: TrainerMemory, slot: number, at: number, rows: Float32Array): void {
  const { rowColumns: d, rowStride: stride } = memory.layout;
  const target = memory.slot(slot);
  for (let from = 0, to = (at * stride) / 4; from < rows.length; from += d, to += stride / 4) target.set(rows.subarray(from, from + d), to);
}
