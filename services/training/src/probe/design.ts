import { rowBounds, type SparseRows } from "@mistral-sae/tensor";

/** Examples of a regression: a matrix that can be multiplied from both sides. */
export interface Design {
  readonly rows: number;
  readonly columns: number;
  /** out[i] = ⟨x_i, w⟩. */
  scores(w: Float64Array, out: Float64Array): void;
  /** out += Σ_i r[i]·x_i, over columns. */
  pull(r: Float64Array, out: Float64Array): void;
  /** out += Σ_i r[i]·x_i², over columns. */
  pullSquares(r: Float64Array, out: Float64Array): void;
}

/** Rows [n, columns] that lie one after another. */
export class DenseDesign implements Design {
  readonly rows: number;
  readonly columns: number;
  readonly #values: Float32Array;

  /** @param values [rows, columns]. */
  constructor(values: Float32Array, columns: number, rows: number) {
    this.rows = rows;
    this.columns = columns;
    this.#values = values;
  }

  scores(w: Float64Array, out: Float64Array): void {
    const values = this.#values;
    for (let row = 0, at = 0; row < this.rows; row += 1) {
      let sum = 0;
      for (let column = 0; column < this.columns; column += 1, at += 1) sum += (values[at] as number) * (w[column] as number);
      out[row] = sum;
    }
  }

  pull(r: Float64Array, out: Float64Array): void {
    const values = this.#values;
    for (let row = 0, at = 0; row < this.rows; row += 1) {
      const factor = r[row] as number;
      for (let column = 0; column < this.columns; column += 1, at += 1) out[column] = (out[column] as number) + factor * (values[at] as number);
    }
  }

  pullSquares(r: Float64Array, out: Float64Array): void {
    const values = this.#values;
    for (let row = 0, at = 0; row < this.rows; row += 1) {
      const factor = r[row] as number;
      for (let column = 0; column < this.columns; column += 1, at += 1) out[column] = (out[column] as number) + factor * (values[at] as number) ** 2;
    }
  }
}

/** Some rows of sparse codes, over all features. */
export class SparseDesign implements Design {
  readonly rows: number;
  readonly columns: number;
  readonly #codes: SparseRows;
  readonly #chosen: readonly number[];

  /** @param chosen Rows of the codes. */
  constructor(codes: SparseRows, chosen: readonly number[]) {
    this.rows = chosen.length;
    this.columns = codes.dSae;
    this.#codes = codes;
    this.#chosen = chosen;
  }

  scores(w: Float64Array, out: Float64Array): void {
    const { indices, values } = this.#codes;
    for (const [row, from] of this.#chosen.entries()) {
      const [start, end] = rowBounds(this.#codes, from);
      let sum = 0;
      for (let pair = start; pair < end; pair += 1) sum += (values[pair] as number) * (w[indices[pair] as number] as number);
      out[row] = sum;
    }
  }

  pull(r: Float64Array, out: Float64Array): void {
    this.#scatter(r, out, (value) => value);
  }

  pullSquares(r: Float64Array, out: Float64Array): void {
    this.#scatter(r, out, (value) => value * value);
  }

  #scatter(r: Float64Array, out: Float64Array, of: (value: number) => number): void {
    const { indices, values } = this.#codes;
    for (const [row, from] of this.#chosen.entries()) {
      const [start, end] = rowBounds(this.#codes, from);
      const factor = r[row] as number;
      for (let pair = start; pair < end; pair += 1) {
        const feature = indices[pair] as number;
        out[feature] = (out[feature] as number) + factor * of(values[pair] as number);
      }
    }
  }
}
