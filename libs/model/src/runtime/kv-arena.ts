import { Tensor } from "onnxruntime-node";
import type { RotaryTables } from "../graph/rotary.ts";
import type { Feeds } from "./session.ts";

/** Widths of the cache. */
export interface CacheShape {
  readonly nLayers: number;
  readonly nKeyValueHeads: number;
  readonly dHead: number;
  /** Of the positions that keys are rotated by. */
  readonly rotary: RotaryTables;
}

/** The layout of new rows: B sequences of S steps, of which `lengths[b]` are not padding. */
export interface NewRows {
  readonly size: number;
  readonly steps: number;
  readonly lengths: Uint32Array;
}

/** The place of one sequence's keys and values. */
export interface CacheRow {
  arena: KvArena;
  row: number;
  /** Positions filled. */
  length: number;
}

/** Bytes that `rows` sequences of `capacity` positions take. */
export function arenaBytes(shape: Omit<CacheShape, "rotary">, capacity: number, rows: number): number {
  return rows * capacity * shape.nLayers * shape.nKeyValueHeads * shape.dHead * 2 * Float32Array.BYTES_PER_ELEMENT;
}

/**
 * Keys and values of sequences of one capacity, each layer [rows, KV, capacity, dHead], so that neighbouring rows are
 * a batch without copying. Rows in use lie together at the front; removing one moves the last into its place.
 */
export class KvArena {
  readonly capacity: number;
  readonly #shape: CacheShape;
  /** Elements of one row of one layer. */
  readonly #stride: number;
  readonly #rows: CacheRow[] = [];
  #space = 0;
  #keys: Float32Array[] = [];
  #values: Float32Array[] = [];
  #feeds = new Map<string, Feeds>();

  constructor(shape: CacheShape, capacity: number) {
    this.#shape = shape;
    this.capacity = capacity;
    this.#stride = shape.nKeyValueHeads * capacity * shape.dHead;
  }

  /** Rows in use. */
  get used(): number {
    return this.#rows.length;
  }

  /** Rows that fit without growing. */
  get space(): number {
    return this.#space;
  }

  get bytes(): number {
    return arenaBytes(this.#shape, this.capacity, this.#space);
  }

  /** Makes room for `rows` rows; what is cached stays. */
  resize(rows: number): void {
    const grown = (old: Float32Array | undefined): Float32Array => {
      const next = new Float32Array(rows * this.#stride);
      if (old !== undefined) next.set(old.subarray(0, this.#rows.length * this.#stride));
      return next;
    };
    for (let layer = 0; layer < this.#shape.nLayers; layer++) {
      this.#keys[layer] = grown(this.#keys[layer]);
      this.#values[layer] = grown(this.#values[layer]);
    }
    this.#space = rows;
    this.#feeds.clear();
  }

  /** Takes the next row. There must be space. */
  add(): CacheRow {
    if (this.#rows.length === this.#space) throw new RangeError("the arena is full");
    const row: CacheRow = { arena: this, row: this.#rows.length, length: 0 };
    this.#rows.push(row);
    return row;
  }

  /** Gives a row back. */
  remove(row: CacheRow): void {
    const last = this.#rows.length - 1;
    this.#swap(row.row, last);
    this.#rows.pop();
  }

  /** Hands the place of one row to another object. */
  replace(row: CacheRow, by: CacheRow): void {
    this.#rows[row.row] = by;
  }

  /** Brings rows to the front, in this order. Steady batches find themselves there and move nothing. */
  order(rows: readonly CacheRow[]): void {
    for (const [index, row] of rows.entries()) this.#swap(row.row, index);
  }

  /** Copies the first `length` positions of `from`, which may lie in another arena, into `to`, which lies in this one. */
  copy(from: CacheRow, to: CacheRow, length: number): void {
    const { nLayers, nKeyValueHeads, dHead } = this.#shape;
    const source = from.arena;
    for (let layer = 0; layer < nLayers; layer++) {
      for (const [into, out] of [[this.#keys[layer], source.#keys[layer]], [this.#values[layer], source.#values[layer]]] as const) {
        if (into === undefined || out === undefined) continue;
        for (let head = 0; head < nKeyValueHeads; head++) {
          const start = from.row * source.#stride + head * source.capacity * dHead;
          into.set(out.subarray(start, start + length * dHead), to.row * this.#stride + head * this.capacity * dHead);
        }
      }
    }
    to.length = length;
  }

  /**
   * Appends the positions of batch row `b` in one layer, from the rows that the layer gave ([B, S, width], keys and then
   * values last). Keys are rotated here with the operations, in the order, that onnxruntime's own kernel rounds in, so
   * that a cached key is the key that attention made for itself. The row's length is the caller's to move, after the
   * last layer.
   */
  append(row: CacheRow, layer: number, rows: Float32Array, batch: NewRows, b: number): void {
    const { nKeyValueHeads, dHead, rotary } = this.#shape;
    const keys = this.#keys[layer];
    const values = this.#values[layer];
    const count = batch.lengths[b]!;
    if (keys === undefined || values === undefined || row.length + count > this.capacity) throw new RangeError("the cache row is full");
    const width = rows.length / (batch.size * batch.steps);
    const half = dHead / 2;
    const { cos, sin } = rotary;
    for (let step = 0; step < count; step++) {
      const position = row.length + step;
      let from = (b * batch.steps + step + 1) * width - 2 * nKeyValueHeads * dHead;
      for (let head = 0; head < nKeyValueHeads; head++, from += dHead) {
        let to = row.row * this.#stride + (head * this.capacity + position) * dHead;
        for (let i = 0, angle = position * half; i < half; i++, to++, angle++) {
          const x = rows[from + i]!;
          const y = rows[from + half + i]!;
          const c = cos[angle]!;
          const s = sin[angle]!;
          keys[to] = x * c - Math.fround(y * s);
          keys[to + half] = x * s + Math.fround(y * c);
        }
      }
      for (let head = 0; head < nKeyValueHeads; head++) {
        let to = row.row * this.#stride + (head * this.capacity + position) * dHead;
        for (const end = from + dHead; from < end; from++, to++) values[to] = rows[from]!;
      }
    }
  }

  /** Takes the keys and values of the first rows of a layer, [B, KV, capacity, dHead] each, as they are: keys rotated. */
  overwrite(layer: number, keys: Float32Array, values: Float32Array): void {
    if (keys.length % this.#stride !== 0 || keys.length > this.#rows.length * this.#stride || values.length !== keys.length) throw new RangeError(`a layer of ${keys.length} values does not fit the cache`);
    this.#keys[layer]?.set(keys);
    this.#values[layer]?.set(values);
  }

  /** Tensors over `count` rows from `first`, for the inputs `past_key_{layer}` and `past_value_{layer}` of [from, to). */
  feed(feeds: Feeds, from: number, to: number, first: number, count: number): void {
    const key = `${from} ${to} ${first} ${count}`;
    let known = this.#feeds.get(key);
    if (known === undefined) {
      known = {};
      const dims = [count, this.#shape.nKeyValueHeads, this.capacity, this.#shape.dHead];
      const rows = (data: Float32Array | undefined): Tensor => new Tensor("float32", (data ?? new Float32Array()).subarray(first * this.#stride, (first + count) * this.#stride), dims);
      for (let layer = from; layer < to; layer++) {
        known[`past_key_${layer}`] = rows(this.#keys[layer]);
        known[`past_value_${layer}`] = rows(this.#values[layer]);
      }
      if (this.#feeds.size > 64) this.#feeds.clear();
      this.#feeds.set(key, known);
    }
    Object.assign(feeds, known);
  }

  #swap(a: number, b: number): void {
    const one = this.#rows[a];
    const other = this.#rows[b];
    if (a === b || one === undefined || other === undefined) return;
    const scratch = new Float32Array(this.#stride);
    for (const data of [...this.#keys, ...this.#values]) {
      scratch.set(data.subarray(a * this.#stride, (a + 1) * this.#stride));
      data.copyWithin(a * this.#stride, b * this.#stride, (b + 1) * this.#stride);
      data.set(scratch, b * this.#stride);
    }
    this.#rows[a] = other;
    this.#rows[b] = one;
    other.row = a;
    one.row = b;
  }
}
