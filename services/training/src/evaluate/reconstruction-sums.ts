import type { SparseRows } from "@mistral-sae/tensor";
import { rowBounds } from "@mistral-sae/tensor";

/** Figures of how an SAE reconstructs some rows. */
export interface Reconstruction {
  readonly nTokens: number;
  readonly fvu: number;
  readonly explainedVariance: number;
  readonly mse: number;
  readonly normalizedMse: number;
  readonly cosine: number;
  readonly l2Ratio: number;
  readonly relativeReconstructionBias: number;
  readonly l0: number;
  readonly l1: number;
  readonly nDead: number;
  readonly deadFraction: number;
  readonly denseFraction1pct: number;
  readonly denseFraction10pct: number;
  /** Features that fired, by floor(log10 density), -8 and below in -8, -1 the densest. */
  readonly densityHistogram: Readonly<Record<number, number>>;
}

const LEAST_DECADE = -8;
const MOST_DECADE = -1;

/**
 * Sums over rows, in f64 and divided once, so that no mean of means creeps in. Squares are taken about a fixed
 * shift near the mean: residual streams have means far larger than their spread, and sums about zero cancel.
 */
export class ReconstructionSums {
  readonly #shift: Float64Array;
  readonly #sum: Float64Array;
  readonly #fired: Float64Array;
  readonly #lengths: Float32Array;
  #rows = 0;
  #squares = 0;
  #errors = 0;
  #relativeErrors = 0;
  #cosines = 0;
  #ratios = 0;
  #otherSquares = 0;
  #products = 0;
  #pairs = 0;
  #sizes = 0;

  /**
   * @param shift [d], the same for all sums that are compared.
   * @param lengths [d_sae] length of what an activation of 1 adds to a reconstruction.
   */
  constructor(shift: Float64Array, lengths: Float32Array) {
    this.#shift = shift;
    this.#sum = new Float64Array(shift.length);
    this.#fired = new Float64Array(lengths.length);
    this.#lengths = lengths;
  }

  /** Adds row `row` of `x`, what the SAE should give, and its reconstruction, both [rows, d], and row `codeRow` of the codes. */
  add(x: Float32Array, reconstruction: Float32Array, row: number, codes: SparseRows, codeRow: number): void {
    const width = this.#shift.length;
    const at = row * width;
    let squares = 0;
    let errors = 0;
    let norm = 0;
    let otherNorm = 0;
    let product = 0;
    for (let column = 0; column < width; column += 1) {
      const value = x[at + column] as number;
      const other = reconstruction[at + column] as number;
      const shifted = value - (this.#shift[column] as number);
      this.#sum[column] = (this.#sum[column] as number) + shifted;
      squares += shifted * shifted;
      errors += (value - other) * (value - other);
      norm += value * value;
      otherNorm += other * other;
      product += value * other;
    }
    this.#rows += 1;
    this.#squares += squares;
    this.#errors += errors;
    this.#relativeErrors += norm > 0 ? errors / norm : 0;
    this.#cosines += norm > 0 && otherNorm > 0 ? product / Math.sqrt(norm * otherNorm) : 0;
    this.#ratios += norm > 0 ? Math.sqrt(otherNorm / norm) : 0;
    this.#otherSquares += otherNorm;
    this.#products += product;
    const [start, end] = rowBounds(codes, codeRow);
    for (let pair = start; pair < end; pair += 1) {
      if (codes.values[pair] === 0) continue;
      const feature = codes.indices[pair] as number;
      this.#fired[feature] = (this.#fired[feature] as number) + 1;
      this.#pairs += 1;
      this.#sizes += Math.abs(codes.values[pair] as number) * (this.#lengths[feature] as number);
    }
  }

  get rows(): number {
    return this.#rows;
  }

  /**
   * FVU = Σ|x - x'|² / Σ|x - mean x|² and explained variance = 1 - FVU, as SAELens computes it since 6; MSE = mean of |x - x'|² / d
   * (SAELens' mse lacks the / d); normalised MSE = mean of |x - x'|² / |x|² (OpenAI); cosine = mean of <x, x'> / (|x||x'|); L2 ratio
   * = mean of |x'| / |x|; relative reconstruction bias = Σ|x'|² / Σ<x, x'> (Rajamanoharan et al. 2024, eq. 10; SAELens averages it
   * over batches). L0 = mean features a row with a value other than 0; L1 = mean of Σ|z_f|·‖W_dec[f]‖ (SAELens' l1 leaves the norm
   * out). Density of a feature = rows it fired on / rows; dead = density 0; dense = density above 1% (10%).
   */
  figures(): Reconstruction {
    const rows = this.#rows;
    let mean = 0;
    for (const sum of this.#sum) mean += (sum / rows) ** 2;
    const densityHistogram: Record<number, number> = {};
    const figures = { nDead: 0, above1: 0, above10: 0 };
    for (const fired of this.#fired) {
      const density = fired / rows;
      if (density > 0.01) figures.above1 += 1;
      if (density > 0.1) figures.above10 += 1;
      if (fired === 0) figures.nDead += 1;
      else {
        const decade = Math.min(MOST_DECADE, Math.max(LEAST_DECADE, Math.floor(Math.log10(density))));
        densityHistogram[decade] = (densityHistogram[decade] ?? 0) + 1;
      }
    }
    const features = this.#fired.length;
    const fvu = this.#errors / rows / (this.#squares / rows - mean);
    return {
      nTokens: rows,
      fvu,
      explainedVariance: 1 - fvu,
      mse: this.#errors / rows / this.#shift.length,
      normalizedMse: this.#relativeErrors / rows,
      cosine: this.#cosines / rows,
      l2Ratio: this.#ratios / rows,
      relativeReconstructionBias: this.#otherSquares / this.#products,
      l0: this.#pairs / rows,
      l1: this.#sizes / rows,
      nDead: figures.nDead,
      deadFraction: figures.nDead / features,
      denseFraction1pct: figures.above1 / features,
      denseFraction10pct: figures.above10 / features,
      densityHistogram,
    };
  }
}
