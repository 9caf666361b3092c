import { expect, it } from "vitest";
import { strongestColumns } from "../../src/vectors/subspace.ts";
import { symmetricEigen } from "../../src/vectors/symmetric-eigen.ts";
import { noise } from "../fixtures/toy-inference.ts";

/** A matrix of rank 3 with the singular values 9, 4 and 1, and its right singular vectors: rows and columns turned by reflections. */
function known(rows: number, columns: number) {
  const reflect = (n: number, key: number) => {
    const axis = Array.from({ length: n }, (_, i) => noise(i, key) - 0.5);
    const length = Math.hypot(...axis);
    return (i: number, j: number) => (i === j ? 1 : 0) - (2 * (axis[i] as number) * (axis[j] as number)) / length ** 2;
  };
  const [u, v] = [reflect(rows, 1), reflect(columns, 2)];
  const values = [9, 4, 1];
  const dense = Array.from({ length: rows }, (_, i) => Array.from({ length: columns }, (_unused, j) => values.reduce((sum, value, k) => sum + value * u(i, k) * v(j, k), 0)));
  const from = Uint32Array.from({ length: rows + 1 }, (_, i) => i * columns);
  const column = Uint32Array.from({ length: rows * columns }, (_, i) => i % columns);
  return { matrix: { rows, columns, from, column, value: Float32Array.from(dense.flat()) }, values, v };
}

it("finds the singular values and the right singular vectors of a sparse matrix, and no more than its rank", () => {
  const { matrix, values, v } = known(40, 25);
  const { width, vectors, values: found } = strongestColumns(matrix, 8);
  expect(width).toBe(3);
  expect([...found]).toEqual(values.map((value) => expect.closeTo(value, 4)));
  for (let k = 0; k < 3; k++) {
    const cosine = Array.from({ length: 25 }, (_, j) => v(j, k) * (vectors[j * 3 + k] as number)).reduce((sum, value) => sum + value, 0);
    expect(Math.abs(cosine)).toBeCloseTo(1, 5);
  }
  expect(strongestColumns({ rows: 3, columns: 0, from: new Uint32Array(4), column: new Uint32Array(), value: new Float32Array() }, 8).width).toBe(0);
});

it("gives eigenvalues from the largest, with vectors that the matrix only stretches", () => {
  const n = 12;
  const matrix = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) matrix[i * n + j] = matrix[j * n + i] = noise(i, j, 9) - 0.5;
  const { values, vectors } = symmetricEigen(matrix.slice(), n);
  expect([...values]).toEqual([...values].sort((a, b) => b - a));
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < n; i++) {
      const product = Array.from({ length: n }, (_, j) => (matrix[i * n + j] as number) * (vectors[j * n + k] as number)).reduce((sum, value) => sum + value, 0);
      expect(product).toBeCloseTo((values[k] as number) * (vectors[i * n + k] as number), 9);
    }
  }
});
