import { describe, expect, it } from "vitest";
import { decoderSimilarity, type SaeWeights } from "../../src/index.ts";

const D = 6;

function saeOf(rows: readonly (readonly number[])[]): SaeWeights {
  const dSae = rows.length;
  const wDec = Float32Array.from(rows.flat());
  return {
    config: { architecture: "standard", dIn: D, dSae, dtype: "float32", applyBDecToInput: false, normalizeActivations: "none", reshapeActivations: "none", rescaleActsByDecoderNorm: false, metadata: {} },
    wEnc: new Float32Array(dSae * D),
    bEnc: new Float32Array(dSae),
    wDec,
    bDec: new Float32Array(D),
  };
}

/** Numbers that look random and are always the same. */
function noise(count: number): number[][] {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) / 2 ** 24 - 0.5;
  };
  return Array.from({ length: count }, () => Array.from({ length: D }, () => next() * 3));
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, at) => sum + value * b[at]!, 0);
const cosine = (a: readonly number[], b: readonly number[]): number => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

describe("decoderSimilarity", () => {
  it("is the largest cosine with any other row, whatever the rows' lengths", async () => {
    const rows = noise(40);
    const largest = rows.map((row, f) => Math.max(...rows.filter((_, g) => g !== f).map((other) => cosine(row, other)))).sort((a, b) => a - b);
    const found = await decoderSimilarity(saeOf(rows), 1);
    expect(found?.nFeatures).toBe(40);
    expect(found?.mean).toBeCloseTo(largest.reduce((sum, value) => sum + value, 0) / 40, 5);
    expect(found?.median).toBeCloseTo(largest[20]!, 5);
    expect(found?.p95).toBeCloseTo(largest[38]!, 5);
    expect(found?.max).toBeCloseTo(largest[39]!, 5);
    expect(found?.above09Fraction).toBe(largest.filter((value) => value > 0.9).length / 40);
  });

  it("finds twins and opposites", async () => {
    const found = await decoderSimilarity(saeOf([[1, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]]), 1);
    expect(found).toMatchObject({ max: 1, above09Fraction: 0.5, median: 1 });
    // The opposite's nearest is the row at a right angle.
    expect(found?.mean).toBeCloseTo(0.5, 6);
  });

  it("measures evenly spread rows, each against all, where all would take too long", async () => {
    const rows = noise(64);
    const wholly = await decoderSimilarity(saeOf(rows), 1, { budget: 16 * rows.length * D });
    expect(wholly?.nFeatures).toBe(16);
    const largest = rows.map((row, f) => Math.max(...rows.filter((_, g) => g !== f).map((other) => cosine(row, other)))).filter((_, f) => f % 4 === 0);
    expect(wholly?.mean).toBeCloseTo(largest.reduce((sum, value) => sum + value, 0) / 16, 5);
  });

  it("counts a row without a direction as 0 and says nothing of a lone feature", async () => {
    const found = await decoderSimilarity(saeOf([[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]), 1);
    expect(found).toMatchObject({ mean: 0, max: 0 });
    expect(await decoderSimilarity(saeOf([[1, 0, 0, 0, 0, 0]]), 1)).toBeUndefined();
  });
});
