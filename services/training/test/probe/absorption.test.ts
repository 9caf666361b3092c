import { describe, expect, it } from "vitest";
import { letterAbsorption, mainFeatures } from "../../src/probe/absorption.ts";
import { ProbeRowsBuilder, type ProbeRows } from "../../src/probe/probe-rows.ts";
import { labelledRows, probeTask, topByMeanDifference, type RowTask } from "../../src/probe/probe-task.ts";

// Column 0 says the letter; features: 0 the letter, 1 a word that absorbs it, 2 another word that does not, 3 noise.
const D = 4;
const H = 4;
const decoder = [[1, 0, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];

interface Token {
  readonly acts: readonly number[];
  readonly yes: boolean;
}

/** Tokens whose rows are what the decoder makes of their activations. */
function rowsOf(tokens: readonly Token[], scale = 1): ProbeRows {
  const builder = new ProbeRowsBuilder(tokens.length, D, H);
  for (const { acts } of tokens) {
    const row = Float32Array.from({ length: D }, (_, at) => scale * acts.reduce((sum, act, feature) => sum + act * (decoder[feature]?.[at] ?? 0), 0));
    const fired = [...acts.keys()].filter((feature) => acts[feature] !== 0);
    const codes = { nTokens: 1, k: 0, dSae: H, indices: Uint32Array.from(fired), values: Float32Array.from(fired, (feature) => acts[feature] ?? 0), rowOffsets: Uint32Array.from([0, fired.length]) };
    builder.add(row, codes, 0, scale);
  }
  return builder.finish();
}

const plain: Token = { acts: [5, 0, 0, 0.1], yes: true };
const absorbed: Token = { acts: [0, 5, 0, 0.1], yes: true };
const halfAbsorbed: Token = { acts: [2, 3, 0, 0.1], yes: true };
const other: Token = { acts: [0, 0, 4, 0.1], yes: false };
const nothing: Token = { acts: [0, 0, 0, 1], yes: false };

function taskOf(yes: readonly Token[], no: readonly Token[], copies = 20): { rows: ProbeRows; task: RowTask } {
  const tokens = Array.from({ length: copies }, () => [yes, no].flat()).flat();
  const own = (want: boolean): number[] => tokens.flatMap((token, row) => (token.yes === want ? [row] : []));
  const labelled = labelledRows(own(true), own(false));
  return { rows: rowsOf(tokens), task: { train: labelled, test: labelled } };
}

const probe = { weights: Float64Array.of(2, 0, 0, 0), bias: -1, steps: 0 };
const projections = { projections: Float32Array.of(1, 0.8, 0, 0), lengths: Float32Array.of(1, 1, 1, 1) };

describe("letterAbsorption", () => {
  it("finds none where the letter's feature always fires", () => {
    const { rows, task } = taskOf([plain], [other, nothing]);
    expect(letterAbsorption(task, rows, probe, [0], projections)).toEqual({ nTokens: 20, absorptionFraction: 0, fullAbsorption: 0, splitFeatures: [0], absorbingFeatures: [] });
  });

  it("finds the planted feature that absorbs the letter", () => {
    const { rows, task } = taskOf([plain, plain, absorbed], [other, nothing]);
    const found = letterAbsorption(task, rows, probe, [0], projections);
    expect(found).toMatchObject({ nTokens: 60, absorbingFeatures: [1] });
    expect(found.absorptionFraction).toBeCloseTo(1 / 3, 10);
    expect(found.fullAbsorption).toBeCloseTo(1 / 3, 10);
  });

  it("tells how much a feature takes over where the letter's fires too", () => {
    const { rows, task } = taskOf([halfAbsorbed], [other, nothing]);
    const found = letterAbsorption(task, rows, probe, [0], projections);
    // The main feature adds 2 of 2 + 0.8·3.
    expect(found.absorptionFraction).toBeCloseTo(2.4 / 4.4, 6);
    expect(found.fullAbsorption).toBe(0);
  });

  it("does not depend on the scale of normalised rows", () => {
    const tokens = [plain, absorbed, other, nothing];
    const task = { train: labelledRows([0, 1], [2, 3]), test: labelledRows([0, 1], [2, 3]) };
    const found = letterAbsorption(task, rowsOf(tokens, 7), probe, [0], projections);
    expect(found).toEqual(letterAbsorption(task, rowsOf(tokens), probe, [0], projections));
  });

  it("measures only tokens on which the probe knows the letter", () => {
    const unknown: Token = { acts: [0.1, 0, 4, 0], yes: true };
    const { rows, task } = taskOf([plain, unknown], [other, nothing]);
    expect(letterAbsorption(task, rows, probe, [0], projections).nTokens).toBe(20);
  });
});

describe("mainFeatures", () => {
  it("is the one feature that tells the letter", () => {
    const { rows, task } = taskOf([plain], [other, nothing]);
    expect(mainFeatures(task, rows)).toEqual([0]);
  });

  it("is more than one where the letter is split over several", () => {
    const { rows, task } = taskOf([plain, absorbed], [other, nothing]);
    expect(mainFeatures(task, rows).sort((a, b) => a - b)).toEqual([0, 1]);
  });
});

describe("probeTask", () => {
  it("finds a planted feature, and k of 1 is then enough", () => {
    const { rows, task } = taskOf([plain], [other, nothing]);
    const found = probeTask(task, rows, [1, 2]);
    expect(found.accuracyByK).toEqual({ 1: 1, 2: 1 });
    expect(found).toMatchObject({ residualAccuracy: 1, saeAccuracy: 1 });
    expect(found.features[0]).toBe(0);
  });

  it("needs as many features as the class is split over", () => {
    const { rows, task } = taskOf([plain, absorbed], [other, nothing]);
    const { accuracyByK } = probeTask(task, rows, [1, 3]);
    expect(accuracyByK[1]).toBeLessThan(0.8);
    expect(accuracyByK[3]).toBe(1);
  });

  it("takes features that are missing from the class as well", () => {
    const { rows, task } = taskOf([plain], [other]);
    expect(topByMeanDifference(rows.codes, task.train, 2)).toEqual([0, 2]);
  });
});
