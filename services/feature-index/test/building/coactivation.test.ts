import { describe, expect, it } from "vitest";
import { CoactivationCounter, MEASURES } from "../../src/building/coactivation.ts";

describe("CoactivationCounter", () => {
  const tokens = [[0, 1, 2], [0, 1], [0, 3], [1, 2], [], [0, 1], [4]];
  const codes = { ends: Uint32Array.from(tokens, ((end) => (row: number[]) => (end += row.length))(0)), features: Uint32Array.from(tokens.flat()) };
  const counter = new CoactivationCounter(codes, 6);

  it("counts the tokens on which two features fire", () => {
    expect(counter.nTokens).toBe(7);
    expect(counter.of(1)).toEqual({ n: 4, others: [0, 2], othersN: [4, 2], together: [3, 2] });
    expect(counter.of(5)).toEqual({ n: 0, others: [], othersN: [], together: [] });
  });

  it("leaves out what happened once", () => {
    expect(counter.of(3)).toEqual({ n: 1, others: [], othersN: [], together: [] });
  });

  it("measures as the formulas say", () => {
    const counts = { total: 10, a: 4, b: 5, both: 3 };
    expect(MEASURES.jaccard(counts)).toBeCloseTo(3 / 6);
    expect(MEASURES.pmi(counts)).toBeCloseTo(Math.log(30 / 20));
    const x = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0];
    const y = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0];
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const covariance = mean(x.map((value, i) => value * (y[i] as number))) - mean(x) * mean(y);
    expect(MEASURES.phi(counts)).toBeCloseTo(covariance / Math.sqrt(0.4 * 0.6 * 0.5 * 0.5));
    expect(MEASURES.phi({ total: 5, a: 5, b: 2, both: 2 })).toBe(0);
  });
});
