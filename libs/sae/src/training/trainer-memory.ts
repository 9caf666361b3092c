import type { TrainerLayout } from "./layout.ts";
import type { RandomState } from "./random.ts";

/** What every thread of a trainer shares; can be posted to other threads. */
export interface SharedTrainer {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly layout: TrainerLayout;
  /** Numbers of the training's state that are no tensors. */
  readonly scalars: SharedArrayBuffer;
}

/** Regions of [d_sae] rows, and of single rows. */
export type MatrixRegion = "wEnc" | "wDec" | "mEnc" | "vEnc" | "mDec" | "vDec" | "gEnc" | "gDec" | "wSkip" | "mSkip" | "vSkip" | "gSkip";
export type VectorRegion = "bDec" | "mBDec" | "vBDec" | "gBDec" | "norms" | "along";

const Scalar = { step: 0, mseScale: 1, inputScale: 2, sinceSide: 3, random: 4, largestLr: 8, averageWeight: 9, topkThreshold: 10, outputScale: 11 } as const;
const scalarCount = 16;

/** Pages of 64 KiB that 32-bit addresses reach. */
const narrowPages = 65536;

/** A memory with 64-bit addresses, which no kernel of ours works on: for trainers without kernels. */
function wideMemory(pages: number): WebAssembly.Memory {
  // TypeScript's descriptor does not know of the address type yet.
  const descriptor = { address: "i64", initial: BigInt(pages), maximum: BigInt(pages), shared: true } as unknown as WebAssembly.MemoryDescriptor;
  return new WebAssembly.Memory(descriptor);
}

/** A trainer's memory as the values of its training: every thread sees the same ones. */
export class TrainerMemory {
  readonly shared: SharedTrainer;
  readonly layout: TrainerLayout;
  readonly buffer: ArrayBufferLike;
  readonly #scalars: Float64Array;

  constructor(shared: SharedTrainer) {
    this.shared = shared;
    this.layout = shared.layout;
    this.buffer = shared.memory.buffer;
    this.#scalars = new Float64Array(shared.scalars);
  }

  /** Allocates a memory of zeros. Throws RangeError when the machine has none left. */
  static allocate(layout: TrainerLayout, module: WebAssembly.Module): TrainerMemory {
    const pages = layout.bytes / 65536;
    const memory = pages > narrowPages ? wideMemory(pages) : new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    return new TrainerMemory({ module, memory, layout, scalars: new SharedArrayBuffer(scalarCount * 8) });
  }

  /** Steps done. */
  get step(): number {
    return this.#scalars[Scalar.step]!;
  }
  set step(value: number) {
    this.#scalars[Scalar.step] = value;
  }

  /** Factor of the mean squared error. */
  get mseScale(): number {
    return this.#scalars[Scalar.mseScale]!;
  }
  set mseScale(value: number) {
    this.#scalars[Scalar.mseScale] = value;
  }

  /** Factor of the inputs for expected_average_only_in, else 1. */
  get inputScale(): number {
    return this.#scalars[Scalar.inputScale]!;
  }
  set inputScale(value: number) {
    this.#scalars[Scalar.inputScale] = value;
  }

  /** signum_schedule_free: the largest learning rate so far, and the sum of the squares of what it was at each step. */
  get largestLr(): number {
    return this.#scalars[Scalar.largestLr]!;
  }
  set largestLr(value: number) {
    this.#scalars[Scalar.largestLr] = value;
  }
  get averageWeight(): number {
    return this.#scalars[Scalar.averageWeight]!;
  }
  set averageWeight(value: number) {
    this.#scalars[Scalar.averageWeight] = value;
  }

  /** batchtopk, matryoshka_batchtopk: moving average of the smallest kept value, the threshold for inference. */
  get topkThreshold(): number {
    return this.#scalars[Scalar.topkThreshold]!;
  }
  set topkThreshold(value: number) {
    this.#scalars[Scalar.topkThreshold] = value;
  }

  /** Factor of a transcoder's outputs for expected_average_only_in; of an autoencoder that of its inputs. */
  get outputScale(): number {
    return this.#scalars[Scalar.outputScale]!;
  }
  set outputScale(value: number) {
    this.#scalars[Scalar.outputScale] = value;
  }

  get random(): RandomState {
    const at = Scalar.random;
    return [this.#scalars[at]!, this.#scalars[at + 1]!, this.#scalars[at + 2]!, this.#scalars[at + 3]!];
  }
  set random(state: RandomState) {
    this.#scalars.set(state, Scalar.random);
  }

  /** Byte offset of the counters of silence that hold now, u64 [d_sae]. */
  get sinceAt(): number {
    return this.#scalars[Scalar.sinceSide] === 0 ? this.layout.at.sinceA : this.layout.at.sinceB;
  }

  /** Byte offset of the counters that a step writes; {@link flipSince} makes them hold. */
  get nextSinceAt(): number {
    return this.#scalars[Scalar.sinceSide] === 0 ? this.layout.at.sinceB : this.layout.at.sinceA;
  }

  flipSince(): void {
    this.#scalars[Scalar.sinceSide] = 1 - this.#scalars[Scalar.sinceSide]!;
  }

  /** The counters of silence: rows (gao) or steps (seed_compat) since a latent fired. */
  get since(): BigUint64Array {
    return new BigUint64Array(this.buffer, this.sinceAt, this.layout.h);
  }

  /** Row `f` of a matrix with its padding, as a view; an encoder's row holds its bias in column d. */
  row(region: MatrixRegion, f: number): Float32Array {
    const { at, stride } = this.layout;
    return new Float32Array(this.buffer, at[region] + f * stride, stride / 4);
  }

  /** Rows and columns of a matrix without padding and biases. */
  shape(region: MatrixRegion): readonly [rows: number, columns: number] {
    const { d, dOut, h } = this.layout;
    if (region.endsWith("Skip")) return [dOut, d];
    return [h, region.endsWith("Dec") ? dOut : d];
  }

  /** All rows of a matrix with their padding, as a view. */
  matrix(region: MatrixRegion): Float32Array {
    const { at, stride } = this.layout;
    return new Float32Array(this.buffer, at[region], (this.shape(region)[0] * stride) / 4);
  }

  /** A row of its own with its padding, as a view. */
  vector(region: VectorRegion): Float32Array {
    return new Float32Array(this.buffer, this.layout.at[region], this.layout.stride / 4);
  }

  /** Statistics of covariance_whitening with their padding, as a view: Mᵀ [stride / 4, stride / 4], the others [stride / 4]. */
  whitening(part: "mean" | "rows" | "spectrum"): Float32Array {
    const { at, stride, whitens } = this.layout;
    const [offset, rows] = { mean: [at.whitenMean, 1] as const, rows: [at.whitenRows, stride / 4] as const, spectrum: [at.whitenSpectrum, 1] as const }[part];
    return new Float32Array(this.buffer, offset, whitens ? (rows * stride) / 4 : 0);
  }

  /** One batch slot with its padding, as a view. */
  slot(index: number): Float32Array {
    const { slots, batch, rowStride } = this.layout;
    return new Float32Array(this.buffer, slots[index]!, (batch * rowStride) / 4);
  }

  /** The columns without padding of rows [from, to), copied to `target` or new memory, contiguous. */
  readRows(region: MatrixRegion, from: number, to: number, target?: Float32Array): Float32Array {
    const { stride } = this.layout;
    const [, d] = this.shape(region);
    const out = target ?? new Float32Array((to - from) * d);
    const source = this.matrix(region);
    const step = stride / 4;
    for (let f = from, put = 0; f < to; f++) {
      for (let at = f * step, end = at + d; at < end; at++) out[put++] = source[at]!;
    }
    return out;
  }

  /** Writes contiguous rows without padding to rows from `from` on. */
  writeRows(region: MatrixRegion, from: number, rows: Float32Array): void {
    const { stride } = this.layout;
    const [, d] = this.shape(region);
    const target = this.matrix(region);
    for (let at = 0, put = (from * stride) / 4; at < rows.length; at += d, put += stride / 4) target.set(rows.subarray(at, at + d), put);
  }

  /** Column d of a matrix: the encoder's biases, or their moments. */
  readBias(region: MatrixRegion): Float32Array {
    const { d, h, stride } = this.layout;
    const source = this.matrix(region);
    return Float32Array.from({ length: h }, (_, f) => source[(f * stride) / 4 + d]!);
  }

  writeBias(region: MatrixRegion, values: Float32Array): void {
    const { d, h, stride } = this.layout;
    const target = this.matrix(region);
    for (let f = 0; f < h; f++) target[(f * stride) / 4 + d] = values[f]!;
  }
}
