/** Eigenvalues, the largest first, and their vectors as the columns of a [n, n] matrix. */
export interface Eigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

const SWEEPS = 30;
const SMALL = 1e-22;

/**
 * Eigenvectors of a symmetric matrix [n, n], row-major, which is overwritten: Jacobi's rotations by rows.
 * Golub & Van Loan, Matrix Computations, section 8.5.
 */
export function symmetricEigen(matrix: Float64Array, n: number): Eigen {
  const turned = new Float64Array(n * n);
  for (let i = 0; i < n; i++) turned[i * n + i] = 1;
  for (let sweep = 0; sweep < SWEEPS && !isDiagonal(matrix, n); sweep++) {
    for (let p = 0; p < n - 1; p++) for (let q = p + 1; q < n; q++) rotate(matrix, turned, n, p, q);
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => (matrix[b * n + b] as number) - (matrix[a * n + a] as number));
  const vectors = new Float64Array(n * n);
  for (const [column, from] of order.entries()) for (let row = 0; row < n; row++) vectors[row * n + column] = turned[row * n + from] as number;
  return { values: Float64Array.from(order, (i) => matrix[i * n + i] as number), vectors };
}

function isDiagonal(matrix: Float64Array, n: number): boolean {
  let beside = 0;
  let on = 0;
  for (let row = 0; row < n; row++) {
    on += (matrix[row * n + row] as number) ** 2;
    for (let column = row + 1; column < n; column++) beside += (matrix[row * n + column] as number) ** 2;
  }
  return beside <= SMALL * on;
}

function rotate(matrix: Float64Array, turned: Float64Array, n: number, p: number, q: number): void {
  const off = matrix[p * n + q] as number;
  if (off === 0) return;
  const theta = ((matrix[q * n + q] as number) - (matrix[p * n + p] as number)) / (2 * off);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let k = 0; k < n; k++) {
    turn(matrix, k * n + p, k * n + q, c, s);
    turn(turned, k * n + p, k * n + q, c, s);
  }
  for (let k = 0; k < n; k++) turn(matrix, p * n + k, q * n + k, c, s);
}

function turn(values: Float64Array, p: number, q: number, c: number, s: number): void {
  const a = values[p] as number;
  const b = values[q] as number;
  values[p] = c * a - s * b;
  values[q] = s * a + c * b;
}
