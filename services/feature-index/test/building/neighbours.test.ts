import { describe, expect, it } from "vitest";
import { nearestRows, normalise } from "../../src/building/neighbours.ts";
import { noise } from "../fixtures/toy-inference.ts";

describe("nearestRows", () => {
  const width = 7;
  const n = 150;
  const rows = Float32Array.from({ length: n * width }, (_, i) => 2 * noise(i, 9) - 1);
  const lengths = Array.from({ length: n }, (_, row) => Math.hypot(...rows.subarray(row * width, (row + 1) * width)));

  it("finds the rows of the largest cosines, itself left out", () => {
    const cosine = (a: number, b: number) => Array.from({ length: width }, (_, i) => (rows[a * width + i] as number) * (rows[b * width + i] as number)).reduce((x, y) => x + y, 0) / ((lengths[a] as number) * (lengths[b] as number));
    const units = rows.slice();
    const norms = normalise(units, width);
    for (const [row, length] of lengths.entries()) expect(norms[row]).toBeCloseTo(length, 5);
    const found = nearestRows(units, width, 40, 45, 4);
    for (const [i, { features, cosines }] of found.entries()) {
      const wanted = Array.from({ length: n }, (_, other) => other).filter((other) => other !== 40 + i).sort((a, b) => cosine(40 + i, b) - cosine(40 + i, a)).slice(0, 4);
      expect(features).toEqual(wanted);
      for (const [at, other] of wanted.entries()) expect(cosines[at]).toBeCloseTo(cosine(40 + i, other), 5);
    }
  });

  it("leaves rows of zeros as they are", () => {
    const units = new Float32Array(2 * width);
    expect([...normalise(units, width)]).toEqual([0, 0]);
    expect(nearestRows(units, width, 0, 1, 3)).toEqual([{ features: [1], cosines: [0] }]);
  });
});
