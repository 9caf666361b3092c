import { expect, test } from "vitest";
import { topK } from "../src/index.ts";

function bySorting(row: Float32Array, k: number): [number, number][] {
  const pairs = [...row].map((value, index): [number, number] => [index, value]).filter(([, value]) => !Number.isNaN(value));
  return pairs.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, k);
}

test("top-k agrees with a full sort on random rows with ties, for every k", () => {
  let seed = 1;
  const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let round = 0; round < 300; round++) {
    const n = Math.floor(random() * 60);
    const k = Math.floor(random() * (n + 3));
    const levels = random() < 0.5 ? 5 : 1e6;
    const row = Float32Array.from({ length: n }, () => (random() < 0.02 ? NaN : Math.floor(random() * levels) - levels / 2));
    const indices = new Uint32Array(k + 2);
    const values = new Float32Array(k + 2);
    const count = topK(row, k, indices, values, 2);
    expect(Array.from({ length: count }, (_, i) => [indices[i + 2], values[i + 2]])).toEqual(bySorting(row, k));
  }
});
