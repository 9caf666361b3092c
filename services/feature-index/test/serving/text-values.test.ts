import type { SparseRows } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { aggregate, firingsOf, strongest, subtract, type AggregateName } from "../../src/serving/text-values.ts";
import { noise } from "../fixtures/toy-inference.ts";

const D_SAE = 200;

/** Rows of 0 to 12 pairs; values are few, so that there are ties. */
function textOf(seed: number, nTokens: number): SparseRows {
  const rows = Array.from({ length: nTokens }, (_, token) => {
    const features = new Set(Array.from({ length: Math.floor(13 * noise(seed, token)) }, (_, i) => Math.floor(noise(seed, token, i) ** 2 * D_SAE)));
    return [...features].map((feature) => ({ feature, value: 0.5 + Math.floor(8 * noise(seed, token, feature, 3)) / 2 }));
  });
  const pairs = rows.flat();
  const offsets = [0];
  for (const row of rows) offsets.push((offsets.at(-1) as number) + row.length);
  return { nTokens, k: 0, dSae: D_SAE, indices: Uint32Array.from(pairs, ({ feature }) => feature), values: Float32Array.from(pairs, ({ value }) => value), rowOffsets: Uint32Array.from(offsets) };
}

/** The activations as a matrix, [token][feature]. */
function dense({ nTokens, indices, values, rowOffsets }: SparseRows): number[][] {
  return Array.from({ length: nTokens }, (_, token) => {
    const row = Array.from({ length: D_SAE }, () => 0);
    for (let pair = rowOffsets?.[token] ?? 0; pair < (rowOffsets?.[token + 1] ?? 0); pair++) row[indices[pair] as number] = values[pair] as number;
    return row;
  });
}

function valueOf(matrix: number[][], positions: readonly number[], feature: number, how: AggregateName): number {
  const column = positions.map((position) => matrix[position]?.[feature] ?? 0);
  const sum = column.reduce((total, value) => total + value, 0);
  return { max: Math.max(0, ...column), sum, mean: sum / positions.length, count: column.filter((value) => value > 0).length, last: column.at(-1) ?? 0 }[how];
}

const every = Array.from({ length: D_SAE }, (_, feature) => feature);
const [text, other] = [textOf(1, 60), textOf(2, 40)];
const positions = Array.from({ length: 60 }, (_, i) => i).filter((i) => i % 7 !== 3);

describe("the features that a text fires", () => {
  it.each(["max", "mean", "sum", "count", "last"] as const)("are the strongest by %s, whole or less another text", (how) => {
    const all = Array.from({ length: 40 }, (_, i) => i);
    const matrix = dense(text);
    const theirs = dense(other);
    for (const contrast of [false, true]) {
      const found = aggregate(text, positions, how);
      if (contrast) subtract(found, aggregate(other, all, how), D_SAE);
      const wanted = every
        .map((feature) => ({ feature, fires: positions.some((position) => (matrix[position]?.[feature] ?? 0) > 0), value: valueOf(matrix, positions, feature, how) - (contrast ? valueOf(theirs, all, feature, how) : 0) }))
        .filter(({ feature, fires, value }) => fires && value > 0 && feature % 5 !== 0)
        .sort((a, b) => b.value - a.value || a.feature - b.feature);
      for (const n of [1, 2, 10, 1_000]) {
        const best = strongest(found, n, (feature) => feature % 5 !== 0);
        expect(best.map((place) => found.features[place]), `${n}`).toEqual(wanted.slice(0, n).map(({ feature }) => feature));
        for (const [i, place] of best.entries()) expect(found.values[place]).toBeCloseTo(wanted[i]?.value ?? 0, 10);
      }
    }
  });

  it("come with the positions where they fire, and how strongly", () => {
    const matrix = dense(text);
    const features = [7, 0, 199, 31];
    const wanted = features.map((feature) => positions.filter((position) => (matrix[position]?.[feature] ?? 0) > 0));
    expect(firingsOf(text, positions, features)).toEqual(features.map((feature, i) => ({ positions: wanted[i], values: wanted[i]?.map((position) => matrix[position]?.[feature]) })));
  });

  it("are none where no position counts", () => {
    const found = aggregate(text, [], "mean");
    expect(strongest(found, 5, () => true)).toEqual([]);
  });
});
