import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { DenseDesign, SparseDesign } from "../../src/probe/design.ts";
import { l1Probe } from "../../src/probe/l1-probe.ts";
import { accuracy, answers, f1Score, logisticRegression } from "../../src/probe/logistic.ts";

interface Case {
  readonly name: string;
  readonly x: readonly (readonly number[])[];
  readonly labels: readonly number[];
  readonly c: number;
  readonly decay: number;
  /** Weights, then the intercept. */
  readonly ridge: readonly number[];
  readonly lasso: readonly number[];
}

const cases = JSON.parse(await readFile(new URL("../fixtures/logistic.json", import.meta.url), "utf8")) as readonly Case[];

function dense({ x }: Case): DenseDesign {
  return new DenseDesign(Float32Array.from(x.flat()), x[0]?.length ?? 0, x.length);
}

function sparse({ x }: Case): SparseDesign {
  const pairs = x.map((row) => row.flatMap((value, at) => (value === 0 ? [] : [[at, value] as const])));
  const rowOffsets = Uint32Array.from([0, ...pairs.map(({ length }) => length)]);
  for (let row = 1; row < rowOffsets.length; row += 1) rowOffsets[row] = (rowOffsets[row] ?? 0) + (rowOffsets[row - 1] ?? 0);
  const codes = { nTokens: x.length, k: 0, dSae: x[0]?.length ?? 0, indices: Uint32Array.from(pairs.flat(), ([at]) => at), values: Float32Array.from(pairs.flat(), ([, value]) => value), rowOffsets };
  return new SparseDesign(codes, [...x.keys()]);
}

const farthest = (a: Float64Array, b: readonly number[]): number => Math.max(...a.map((value, at) => Math.abs(value - (b[at] ?? 0)) / Math.max(1, Math.abs(b[at] ?? 0))));

describe.each(cases.map((own) => [own.name, own] as const))("%s", (_, own) => {
  const labels = Uint8Array.from(own.labels);

  it("has the minimum of scikit-learn's objective", () => {
    for (const design of [dense(own), sparse(own)]) {
      const { weights, bias } = logisticRegression(design, labels, { c: own.c, tolerance: 1e-9 });
      expect(farthest(Float64Array.from([...weights, bias]), own.ridge)).toBeLessThan(1e-6);
    }
  });

  it("is near the minimum with the tolerance that probing uses", () => {
    const { weights, bias } = logisticRegression(dense(own), labels, { c: own.c });
    expect(farthest(Float64Array.from([...weights, bias]), own.ridge)).toBeLessThan(1e-3);
  });

  it("gives equal bits when asked again", () => {
    expect(logisticRegression(dense(own), labels)).toEqual(logisticRegression(dense(own), labels));
  });
});

it("finds the minimum of the L1 objective", () => {
  const own = cases[1];
  if (own === undefined) throw new Error("the fixture has no sparse case");
  const { weights, bias } = l1Probe(sparse(own), Uint8Array.from(own.labels), { decay: own.decay, steps: 4000 });
  expect(farthest(Float64Array.from([...weights, bias]), own.lasso)).toBeLessThan(1e-4);
  expect(own.lasso.filter((weight) => Math.abs(weight) < 1e-9).length).toBe([...weights].filter((weight) => weight === 0).length);
});

it("counts accuracy and F1", () => {
  const labels = Uint8Array.from([1, 1, 0, 0]);
  const design = new DenseDesign(Float32Array.from([1, -1, 1, -1]), 1, 4);
  const scores = answers(design, { weights: Float64Array.of(1), bias: 0 });
  expect(accuracy(scores, labels)).toBe(0.5);
  expect(f1Score(scores, labels)).toBe(0.5);
  expect(f1Score(Float64Array.of(-1, -1, -1, -1), labels)).toBe(0);
});
