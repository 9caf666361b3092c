/** Eigenvalues, ascending, and their unit eigenvectors as rows, [n, n]. */
export interface SymmetricEigen {
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

/** Rounds of QL that one eigenvalue may take; two are usual. */
const mostRounds = 60;

/**
 * Eigendecomposition of a symmetric matrix [n, n] in f64: Householder reduction to tridiagonal form, then implicit QL (Golub &
 * Van Loan, Matrix Computations, ch. 8.3). About 8·n³ operations. `matrix` is overwritten.
 * Throws RangeError when it does not converge, as for values that are not finite.
 */
export function symmetricEigen(matrix: Float64Array, n: number): SymmetricEigen {
  const diagonal = new Float64Array(n);
  const beside = new Float64Array(n);
  const vectors = reduce(matrix, n, diagonal, beside);
  rotate(vectors, n, diagonal, beside);
  const order = Array.from(diagonal.keys()).sort((one, other) => diagonal[one]! - diagonal[other]!);
  const sorted = new Float64Array(n * n);
  for (const [to, from] of order.entries()) sorted.set(vectors.subarray(from * n, (from + 1) * n), to * n);
  return { values: Float64Array.from(order, (from) => diagonal[from]!), vectors: sorted };
}

/** A = Q·T·Qᵀ: writes T's diagonal and the values beside it, and returns Qᵀ. */
function reduce(a: Float64Array, n: number, diagonal: Float64Array, beside: Float64Array): Float64Array {
  const betas = new Float64Array(n);
  const w = new Float64Array(n);
  for (let k = 0; k < n; k++) {
    diagonal[k] = a[k * n + k]!;
    if (k >= n - 2) continue;
    const v = a.subarray(k * n, (k + 1) * n);
    let squares = 0;
    for (let j = k + 1; j < n; j++) squares += v[j]! * v[j]!;
    const alpha = v[k + 1]! > 0 ? -Math.sqrt(squares) : Math.sqrt(squares);
    beside[k] = alpha;
    // ‖v‖² after v[k + 1] -= alpha.
    const length = 2 * (squares - alpha * v[k + 1]!);
    if (!(length > 0)) continue;
    v[k + 1]! -= alpha;
    const beta = 2 / length;
    betas[k] = beta;
    let along = 0;
    for (let i = k + 1; i < n; i++) {
      w[i] = beta * dot(a, i * n, v, k + 1, n);
      along += w[i]! * v[i]!;
    }
    for (let i = k + 1; i < n; i++) w[i]! -= (beta / 2) * along * v[i]!;
    for (let i = k + 1; i < n; i++) {
      const [vi, wi, row] = [v[i]!, w[i]!, i * n];
      for (let j = k + 1; j < n; j++) a[row + j]! -= vi * w[j]! + wi * v[j]!;
    }
  }
  if (n > 1) beside[n - 2] = a[(n - 2) * n + n - 1]!;
  return transposed(reflected(a, n, betas, w), n);
}

/** Q = H₀·H₁ … from the reflections v that lie behind the diagonal of `a`: H = I - β·v·vᵀ. */
function reflected(a: Float64Array, n: number, betas: Float64Array, sums: Float64Array): Float64Array {
  const q = new Float64Array(n * n);
  for (let i = 0; i < n; i++) q[i * n + i] = 1;
  for (let k = n - 3; k >= 0; k--) {
    if (betas[k] === 0) continue;
    sums.fill(0);
    for (let i = k + 1; i < n; i++) {
      const [vi, row] = [a[k * n + i]!, i * n];
      for (let j = k + 1; j < n; j++) sums[j]! += vi * q[row + j]!;
    }
    for (let i = k + 1; i < n; i++) {
      const [factor, row] = [betas[k]! * a[k * n + i]!, i * n];
      for (let j = k + 1; j < n; j++) q[row + j]! -= factor * sums[j]!;
    }
  }
  return q;
}

/** Implicit QL with shifts: `diagonal` becomes the eigenvalues, the rows of Qᵀ their vectors. */
function rotate(rows: Float64Array, n: number, diagonal: Float64Array, beside: Float64Array): void {
  for (let first = 0; first < n; first++) {
    for (let round = 0; ; round++) {
      let last = first;
      while (last < n - 1 && !(Math.abs(beside[last]!) <= Number.EPSILON * (Math.abs(diagonal[last]!) + Math.abs(diagonal[last + 1]!)))) last++;
      if (last === first) break;
      if (round === mostRounds) throw new RangeError("the eigenvalues do not converge");
      sweep(rows, n, diagonal, beside, first, last);
    }
  }
}

/** One round on the block [first, last], from its end to its start. */
function sweep(rows: Float64Array, n: number, diagonal: Float64Array, beside: Float64Array, first: number, last: number): void {
  const ratio = (diagonal[first + 1]! - diagonal[first]!) / (2 * beside[first]!);
  const shift = diagonal[first]! - beside[first]! / (ratio + (ratio < 0 ? -1 : 1) * Math.hypot(ratio, 1));
  let [sine, cosine, carried, bulge] = [1, 1, 0, diagonal[last]! - shift];
  for (let i = last - 1; i >= first; i--) {
    const [above, across] = [sine * beside[i]!, cosine * beside[i]!];
    const length = Math.hypot(above, bulge);
    beside[i + 1] = length;
    if (length === 0) {
      // The block falls apart here.
      diagonal[i + 1]! -= carried;
      beside[last] = 0;
      return;
    }
    sine = above / length;
    cosine = bulge / length;
    const base = diagonal[i + 1]! - carried;
    const change = (diagonal[i]! - base) * sine + 2 * cosine * across;
    carried = sine * change;
    diagonal[i + 1] = base + carried;
    bulge = cosine * change - across;
    for (let at = i * n, end = at + n; at < end; at++) {
      const [low, high] = [rows[at]!, rows[at + n]!];
      rows[at + n] = sine * low + cosine * high;
      rows[at] = cosine * low - sine * high;
    }
  }
  diagonal[first]! -= carried;
  beside[first] = bulge;
  beside[last] = 0;
}

function dot(a: Float64Array, row: number, v: Float64Array, from: number, to: number): number {
  let sum = 0;
  for (let j = from; j < to; j++) sum += a[row + j]! * v[j]!;
  return sum;
}

function transposed(a: Float64Array, n: number): Float64Array {
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) out[j * n + i] = a[i * n + j]!;
  return out;
}
