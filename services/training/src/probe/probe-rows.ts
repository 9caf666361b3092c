import type { SparseRows } from "@mistral-sae/tensor";
import { rowBounds } from "@mistral-sae/tensor";

/** The tokens that probes look at: what the model has there and what the SAE makes of it. */
export interface ProbeRows {
  readonly dIn: number;
  /** [n, d_in]. */
  readonly residuals: Float32Array;
  readonly codes: SparseRows;
  /** [n] factor that undoes the SAE's normalisation of the row. */
  readonly scales: Float32Array;
}

/** Collects rows whose number is known; codes take what memory they need, 8 bytes an activation. */
export class ProbeRowsBuilder {
  readonly #dIn: number;
  readonly #dSae: number;
  readonly #residuals: Float32Array;
  readonly #scales: Float32Array;
  readonly #rowOffsets: Uint32Array;
  #indices = new Uint32Array(1 << 16);
  #values = new Float32Array(1 << 16);
  #row = 0;

  constructor(rows: number, dIn: number, dSae: number) {
    this.#dIn = dIn;
    this.#dSae = dSae;
    this.#residuals = new Float32Array(rows * dIn);
    this.#scales = new Float32Array(rows);
    this.#rowOffsets = new Uint32Array(rows + 1);
  }

  /** Adds a row [d_in] with row `codeRow` of the codes. */
  add(residual: Float32Array, codes: SparseRows, codeRow: number, scale: number): void {
    const [start, end] = rowBounds(codes, codeRow);
    const at = this.#rowOffsets[this.#row] ?? 0;
    this.#reserve(at + end - start);
    this.#indices.set(codes.indices.subarray(start, end), at);
    this.#values.set(codes.values.subarray(start, end), at);
    this.#residuals.set(residual, this.#row * this.#dIn);
    this.#scales[this.#row] = scale;
    this.#row += 1;
    this.#rowOffsets[this.#row] = at + end - start;
  }

  finish(): ProbeRows {
    const pairs = this.#rowOffsets[this.#row] ?? 0;
    const codes = { nTokens: this.#row, k: 0, dSae: this.#dSae, indices: this.#indices.subarray(0, pairs), values: this.#values.subarray(0, pairs), rowOffsets: this.#rowOffsets.subarray(0, this.#row + 1) };
    return { dIn: this.#dIn, residuals: this.#residuals, codes, scales: this.#scales };
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
