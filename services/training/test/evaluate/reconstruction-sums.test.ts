import { describe, expect, it } from "vitest";
import { ReconstructionSums } from "../../src/evaluate/reconstruction-sums.ts";

const width = 3;
// A mean far from zero, as residual streams have it, so that sums about zero would lose digits.
const x = Float32Array.from([1000, 2, -3, 1001, 4, -1, 999, 1, -2, 1002, 0, -5]);
const y = Float32Array.from([1000.5, 2, -3, 1000, 4, -2, 999, 2, -2, 1002, 0, -4.5]);
const codes = { nTokens: 4, k: 2, dSae: 5, indices: Uint32Array.from([0, 1, 0, 3, 0, 1, 0]), values: Float32Array.from([2, 1, 3, 1, 1, 0, 4]), rowOffsets: Uint32Array.from([0, 2, 4, 6, 7]) };

function figures(shift: readonly number[]): ReturnType<ReconstructionSums["figures"]> {
  const sums = new ReconstructionSums(Float64Array.from(shift), Float32Array.of(1, 2, 1, 0.5, 1));
  for (let row = 0; row < 4; row += 1) sums.add(x, y, row, codes, row);
  return sums.figures();
}

const rowsOf = (values: Float32Array): number[][] => Array.from({ length: 4 }, (_, row) => [...values.subarray(row * width, (row + 1) * width)]);
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, at) => sum + value * (b[at] ?? 0), 0);
const minus = (a: readonly number[], b: readonly number[]): number[] => a.map((value, at) => value - (b[at] ?? 0));

describe("ReconstructionSums", () => {
  it("gives FVU about the mean, whatever shift it sums with", () => {
    const rows = rowsOf(x);
    const mean = [0, 1, 2].map((column) => rows.reduce((sum, row) => sum + (row[column] ?? 0), 0) / 4);
    const errors = rows.reduce((sum, row, at) => sum + dot(minus(row, rowsOf(y)[at] ?? []), minus(row, rowsOf(y)[at] ?? [])), 0);
    const spread = rows.reduce((sum, row) => sum + dot(minus(row, mean), minus(row, mean)), 0);
    expect(figures([1000, 1, -2]).fvu).toBeCloseTo(errors / spread, 12);
    expect(figures([0, 0, 0]).fvu).toBeCloseTo(errors / spread, 8);
  });

  it("gives cosine and normalised MSE as means over rows", () => {
    const pairs = rowsOf(x).map((row, at) => [row, rowsOf(y)[at] ?? []] as const);
    const cosine = pairs.reduce((sum, [a, b]) => sum + dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)), 0) / 4;
    const mse = pairs.reduce((sum, [a, b]) => sum + dot(minus(a, b), minus(a, b)) / dot(a, a), 0) / 4;
    expect(figures([1000, 0, 0]).cosine).toBeCloseTo(cosine, 12);
    expect(figures([1000, 0, 0]).normalizedMse).toBeCloseTo(mse, 12);
  });

  it("gives L1 in units of the decoder's directions, and MSE a value", () => {
    const { l1, mse } = figures([0, 0, 0]);
    // (2·1 + 1·2) + (3·1 + 1·0.5) + 1·1 + 4·1 over 4 rows.
    expect(l1).toBe(12.5 / 4);
    const errors = rowsOf(x).reduce((sum, row, at) => sum + dot(minus(row, rowsOf(y)[at] ?? []), minus(row, rowsOf(y)[at] ?? [])), 0);
    expect(mse).toBeCloseTo(errors / 4 / 3, 12);
  });

  it("tells shrinkage: an L2 ratio below 1 and a bias below 1 where every reconstruction is short", () => {
    const sums = new ReconstructionSums(Float64Array.of(0, 0, 0), new Float32Array(5));
    const short = x.map((value) => value / 2);
    for (let row = 0; row < 4; row += 1) sums.add(x, short, row, codes, row);
    const { l2Ratio, relativeReconstructionBias, cosine } = sums.figures();
    expect(l2Ratio).toBeCloseTo(0.5, 12);
    expect(relativeReconstructionBias).toBeCloseTo(0.5, 12);
    expect(cosine).toBeCloseTo(1, 12);
  });

  it("counts features by values other than zero", () => {
    const { l0, nDead, deadFraction, nTokens, densityHistogram, denseFraction10pct } = figures([0, 0, 0]);
    // Feature 0 fires on all 4 rows, 1 and 3 on one each; the second entry of feature 1 is a zero.
    expect({ l0, nDead, deadFraction, nTokens }).toEqual({ l0: 6 / 4, nDead: 2, deadFraction: 2 / 5, nTokens: 4 });
    expect(densityHistogram).toEqual({ [-1]: 3 });
    expect(denseFraction10pct).toBe(3 / 5);
  });
});
