import { InputError, rowBounds, type SparseRows } from "@mistral-sae/tensor";
import { outputWidth } from "../formats/config.ts";
import { decoderNorms, type SaeWeights } from "../formats/weights.ts";
import { type ActivationFn, activationOf, type Fired } from "./activate.ts";
import { CodeBuilder } from "./code-builder.ts";
import { denormalizeRows, newRowStats, normalizeRows, type RowStats } from "./normalize.ts";
import { project } from "./project.ts";

/** Codes of some rows, with what their reconstruction needs of those rows. */
export interface EncodedRows extends SparseRows {
  readonly rowOffsets: Uint32Array;
  readonly stats: RowStats;
}

// Rows whose pre-activations are held at once: each weight is read once for all of them.
const BLOCK_ROWS = 32;

/**
 * Encodes and decodes rows on the CPU in plain TypeScript, the exact formulas of the SAE's architecture.
 * Holds views of the weights and a block of scratch memory (32 × d_sae floats); not for concurrent use.
 */
export class SaeCodec {
  readonly sae: SaeWeights;
  readonly #activation: ActivationFn;
  readonly #rows: Float32Array;
  readonly #pre: Float32Array;
  readonly #fired: Fired;
  readonly #decoderScale: Float32Array | undefined;
  readonly #outputBias: Float32Array;
  readonly #pursues: boolean;
  #noBias: Float32Array | undefined;

  constructor(sae: SaeWeights) {
    const { dIn, dSae, rescaleActsByDecoderNorm, architecture, applyBDecToInput } = sae.config;
    this.sae = sae;
    this.#pursues = architecture === "matching_pursuit";
    // SAELens' tied SAE: b_dec comes back only where it was subtracted.
    this.#outputBias = this.#pursues && !applyBDecToInput ? new Float32Array(dIn) : sae.bDec;
    this.#activation = activationOf(sae);
    this.#rows = new Float32Array(BLOCK_ROWS * dIn);
    this.#pre = new Float32Array(this.#pursues ? 0 : BLOCK_ROWS * dSae);
    this.#fired = { indices: new Uint32Array(this.#activation.capacity), values: new Float32Array(this.#activation.capacity) };
    this.#decoderScale = rescaleActsByDecoderNorm ? decoderNorms(sae).map((norm) => 1 / norm) : undefined;
  }

  /**
   * The encoder's input for `x` [n, d_in]: normalised, minus b_dec where the SAE subtracts it. Written to `target` [n, d_in].
   */
  prepare(x: Float32Array, target: Float32Array, stats: RowStats): void {
    const { dIn, normalizeActivations, applyBDecToInput } = this.sae.config;
    normalizeRows(normalizeActivations, x, dIn, target, stats);
    if (!applyBDecToInput) return;
    const { bDec } = this.sae;
    for (let at = 0; at < x.length; at += dIn) for (let j = 0; j < dIn; j++) target[at + j]! -= bDec[j]!;
  }

  /**
   * Activations other than zero of every row of `x` [n, d_in], descending within a row.
   * Throws InputError when `x` is not whole rows or holds a value that is not finite; it counts rows from `firstRow`. With a skip
   * connection the result keeps a view of `x`.
   */
  encodeRows(x: Float32Array, firstRow = 0): EncodedRows {
    const { dIn, dSae, dOut, k } = this.sae.config;
    const rows = this.#countRows(x, firstRow);
    const codes = new CodeBuilder(rows, Math.min(this.#activation.capacity, 256));
    const stats = newRowStats(rows);
    // A transcoder's output is not in the space of its input: its normalisation is not undone.
    const inputStats = dOut === undefined ? stats : newRowStats(rows);
    for (let start = 0; start < rows; start += BLOCK_ROWS) {
      const end = Math.min(rows, start + BLOCK_ROWS);
      const block = this.#rows.subarray(0, (end - start) * dIn);
      this.prepare(x.subarray(start * dIn, end * dIn), block, { scale: inputStats.scale.subarray(start, end), shift: inputStats.shift.subarray(start, end) });
      const width = this.#pursues ? dIn : dSae;
      const pre = this.#pursues ? block : this.#pre.subarray(0, (end - start) * dSae);
      if (!this.#pursues) project(block, this.sae.wEnc, this.sae.bEnc, dIn, pre);
      for (let row = 0; row < end - start; row++) {
        const count = this.#activation.apply(pre.subarray(row * width, (row + 1) * width), this.#fired);
        codes.append(this.#fired, count);
      }
    }
    return { nTokens: rows, k: k ?? 0, dSae, stats: this.sae.wSkip === undefined ? stats : { ...stats, input: x }, ...codes.finish() };
  }

  /** Activations of every row as a dense [n, d_sae] matrix. */
  encodeDense(x: Float32Array, target = new Float32Array((x.length / this.sae.config.dIn) * this.sae.config.dSae)): Float32Array {
    return denseOf(this.encodeRows(x), target);
  }

  /**
   * Reconstructions [n, d_out] of codes. `stats` are those of the rows that were encoded; without them the result stays in the
   * SAE's normalised space (the same, where it normalises nothing) and without its skip term, as of SAELens' `decode`.
   */
  decodeRows(codes: SparseRows, stats?: RowStats, target = new Float32Array(codes.nTokens * outputWidth(this.sae.config))): Float32Array {
    const { dSae } = this.sae.config;
    const dOut = outputWidth(this.sae.config);
    const { wDec } = this.sae;
    if (codes.dSae !== dSae) throw new InputError("the codes are of another SAE", { field: "d_sae", got: codes.dSae, wanted: dSae });
    for (let row = 0; row < codes.nTokens; row++) {
      const out = target.subarray(row * dOut, (row + 1) * dOut);
      out.set(this.#outputBias);
      const [start, end] = rowBounds(codes, row);
      for (let pair = start; pair < end; pair++) {
        const feature = codes.indices[pair]!;
        const value = codes.values[pair]! * (this.#decoderScale?.[feature] ?? 1);
        const at = feature * dOut;
        for (let j = 0; j < dOut; j++) out[j]! += value * wDec[at + j]!;
      }
    }
    if (stats !== undefined) denormalizeRows(target, dOut, stats);
    if (stats?.input !== undefined) this.#addSkip(stats.input, target);
    return target;
  }

  /** target += x · W_skipᵀ. */
  #addSkip(x: Float32Array, target: Float32Array): void {
    const { wSkip, config } = this.sae;
    if (wSkip === undefined) return;
    const dOut = outputWidth(config);
    this.#noBias ??= new Float32Array(dOut);
    const skip = new Float32Array(target.length);
    project(x, wSkip, this.#noBias, config.dIn, skip);
    for (let i = 0; i < target.length; i++) target[i]! += skip[i]!;
  }

  /** What the SAE makes of rows: decode(encode(x)) with the skip term, [n, d_out]. */
  reconstruct(x: Float32Array): Float32Array {
    const codes = this.encodeRows(x);
    return this.decodeRows(codes, codes.stats);
  }

  /** What the SAE leaves unexplained of the rows it is to write, [n, d_out]: those of `x`, or for a transcoder `y`. */
  errorTerm(x: Float32Array, y: Float32Array = x): Float32Array {
    return this.reconstruct(x).map((value, i) => y[i]! - value);
  }

  #countRows(x: Float32Array, firstRow: number): number {
    const { dIn } = this.sae.config;
    if (x.length % dIn !== 0) throw new InputError("the input is not whole rows", { field: "x", got: `${x.length} values`, wanted: `a multiple of d_in ${dIn}` });
    for (let i = 0; i < x.length; i++) {
      if (!Number.isFinite(x[i]!)) throw new InputError("the input holds a value that is not a finite number", { field: `x[${firstRow + Math.floor(i / dIn)}, ${i % dIn}]`, got: x[i], wanted: "a finite number" });
    }
    return x.length / dIn;
  }
}

/** Codes as a dense [n, d_sae] matrix in `target`. */
export function denseOf(codes: SparseRows, target = new Float32Array(codes.nTokens * codes.dSae)): Float32Array {
  target.fill(0);
  for (let row = 0; row < codes.nTokens; row++) {
    const [start, end] = rowBounds(codes, row);
    for (let pair = start; pair < end; pair++) target[row * codes.dSae + codes.indices[pair]!] = codes.values[pair]!;
  }
  return target;
}
