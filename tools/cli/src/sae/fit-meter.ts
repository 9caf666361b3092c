import type { SparseRows } from "@mistral-sae/tensor";

/** How well an SAE fits some rows. */
export interface Fit {
  readonly rows: number;
  /** Σ‖x - x̂‖² / Σ‖x - x̄‖², x̄ the mean row; NaN when all rows are equal or none were compared. */
  readonly fvu: number;
  /** Mean activations other than zero a row. */
  readonly l0: number;
  /** Features that fired on at least one row. */
  readonly fired: number;
}

/** Accumulates FVU, L0 and the features that fire, in f64 over all rows. */
export class FitMeter {
  readonly #width: number;
  readonly #fired: Uint8Array;
  // Sums of the rows shifted by the first one, so that a large mean does not drown the variance.
  readonly #shift: Float64Array;
  readonly #sum: Float64Array;
  #squares = 0;
  #residual = 0;
  #rows = 0;
  #measured = 0;
  #pairs = 0;

  constructor(width: number, features: number) {
    this.#width = width;
    this.#fired = new Uint8Array(features);
    this.#shift = new Float64Array(width);
    this.#sum = new Float64Array(width);
  }

  /** Adds rows `x` [n, width], their reconstructions and codes. */
  add(x: Float32Array, reconstruction: Float32Array, codes: SparseRows): void {
    const width = this.#width;
    if (this.#measured === 0) this.#shift.set(x.subarray(0, width));
    for (let at = 0; at < x.length; at += width) {
      for (let j = 0; j < width; j++) {
        const value = x[at + j]! - this.#shift[j]!;
        this.#sum[j]! += value;
        this.#squares += value * value;
        this.#residual += (x[at + j]! - reconstruction[at + j]!) ** 2;
      }
    }
    this.#measured += x.length / width;
    this.addCodes(codes);
  }

  /** Adds codes of rows whose reconstruction has nothing to be compared with. */
  addCodes(codes: SparseRows): void {
    this.#rows += codes.nTokens;
    this.#pairs += codes.indices.length;
    for (const feature of codes.indices) this.#fired[feature] = 1;
  }

  result(): Fit {
    const ofMean = this.#sum.reduce((total, value) => total + value * value, 0) / this.#measured;
    return {
      rows: this.#rows,
      fvu: this.#residual / (this.#squares - ofMean),
      l0: this.#pairs / this.#rows,
      fired: this.#fired.reduce((total, value) => total + value, 0),
    };
  }
}
