import { symmetricEigen } from "./symmetric-eigen.ts";

/** Rows of a sparse matrix: the entries of row i are `from[i]` up to `from[i + 1]`. */
export interface SparseMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly from: Uint32Array;
  readonly column: Uint32Array;
  readonly value: Float32Array;
}

/** The strongest right singular vectors as the columns of [columns, width], and their singular values. */
export interface Subspace {
  readonly width: number;
  readonly vectors: Float32Array;
  readonly values: Float64Array;
}

/** How many directions more than asked for are followed, and how often the matrix is applied. */
const OVERSAMPLING = 16;
const ROUNDS = 4;
const SEED = 1_859;
/** Directions that hold less than this of the strongest one's variance are rounding errors. */
const LEAST = 1e-10;

/**
 * The right singular vectors of a matrix by randomised subspace iteration; the same for the same matrix.
 * Halko, Martinsson & Tropp, Finding structure with randomness (2011), algorithm 4.4, on MᵀM: needs two [columns, width + 16] beside M.
 */
export function strongestColumns(matrix: SparseMatrix, width: number): Subspace {
  const { columns } = matrix;
  const k = Math.min(width + OVERSAMPLING, columns, matrix.rows);
  if (k === 0) return { width: 0, vectors: new Float32Array(), values: new Float64Array() };
  let basis = gaussian(columns * k);
  for (let round = 0; round < ROUNDS; round++) {
    basis = applyTwice(matrix, basis, k);
    orthonormalise(basis, columns, k);
  }
  const { values, vectors } = symmetricEigen(gramOfProduct(matrix, basis, k), k);
  const kept = Math.min(width, k, values.filter((value) => value > LEAST * (values[0] as number)).length);
  return { width: kept, vectors: turnColumns(basis, columns, k, vectors, kept), values: values.slice(0, kept).map(Math.sqrt) };
}

/** Row i of M times `basis` [columns, k], into `out`. */
export function productRow({ from, column, value }: SparseMatrix, i: number, basis: Float32Array, k: number, out: Float32Array): void {
  out.fill(0);
  for (let at = from[i] as number; at < (from[i + 1] as number); at++) {
    const start = (column[at] as number) * k;
    const weight = value[at] as number;
    for (let j = 0; j < k; j++) out[j]! += weight * (basis[start + j] as number);
  }
}

/** Mᵀ (M basis). */
function applyTwice(matrix: SparseMatrix, basis: Float32Array, k: number): Float32Array {
  const { from, column, value, rows } = matrix;
  const next = new Float32Array(basis.length);
  const row = new Float32Array(k);
  for (let i = 0; i < rows; i++) {
    productRow(matrix, i, basis, k, row);
    for (let at = from[i] as number; at < (from[i + 1] as number); at++) {
      const start = (column[at] as number) * k;
      const weight = value[at] as number;
      for (let j = 0; j < k; j++) next[start + j]! += weight * (row[j] as number);
    }
  }
  return next;
}

function gramOfProduct(matrix: SparseMatrix, basis: Float32Array, k: number): Float64Array {
  const row = new Float32Array(k);
  const gram = new Float64Array(k * k);
  for (let i = 0; i < matrix.rows; i++) {
    productRow(matrix, i, basis, k, row);
    addOuter(gram, row, 0, k);
  }
  return mirrored(gram, k);
}

/** Makes the columns of `basis` [n, k] orthonormal, in place; those that depend on others become 0. */
function orthonormalise(basis: Float32Array, n: number, k: number): void {
  const gram = new Float64Array(k * k);
  for (let i = 0; i < n; i++) addOuter(gram, basis, i * k, k);
  const { values, vectors } = symmetricEigen(mirrored(gram, k), k);
  for (let j = 0; j < k; j++) {
    const value = values[j] as number;
    const scale = value > LEAST * (values[0] as number) ? 1 / Math.sqrt(value) : 0;
    for (let i = 0; i < k; i++) vectors[i * k + j]! *= scale;
  }
  basis.set(turnColumns(basis, n, k, vectors, k));
}

/** The upper triangle of Σ xᵀx. */
function addOuter(gram: Float64Array, values: Float32Array, start: number, k: number): void {
  for (let a = 0; a < k; a++) {
    const left = values[start + a] as number;
    if (left === 0) continue;
    for (let b = a; b < k; b++) gram[a * k + b]! += left * (values[start + b] as number);
  }
}

function mirrored(gram: Float64Array, k: number): Float64Array {
  for (let a = 0; a < k; a++) for (let b = 0; b < a; b++) gram[a * k + b] = gram[b * k + a] as number;
  return gram;
}

/** basis [n, k] · the first `kept` columns of `by` [k, k]. */
function turnColumns(basis: Float32Array, n: number, k: number, by: Float64Array, kept: number): Float32Array {
  const out = new Float32Array(n * kept);
  const row = new Float64Array(kept);
  for (let i = 0; i < n; i++) {
    row.fill(0);
    for (let a = 0; a < k; a++) {
      const left = basis[i * k + a] as number;
      if (left === 0) continue;
      for (let b = 0; b < kept; b++) row[b]! += left * (by[a * k + b] as number);
    }
    out.set(row, i * kept);
  }
  return out;
}

/** Normal numbers from a fixed seed (mulberry32, Box–Muller). */
function gaussian(n: number): Float32Array {
  let state = SEED;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return Float32Array.from({ length: n }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}
