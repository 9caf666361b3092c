import { InputError, rowBounds } from "@mistral-sae/tensor";
import { describe, expect, test } from "vitest";
import { denseOf, type SaeConfig, SaeCodec, type SaeWeights, setFeatures } from "../../src/index.ts";
import { largestDifference, noise, randomSae } from "../support.ts";

const ROWS = 71;

/** Activations and reconstruction of one row by the formulas alone, in f64. */
function byDefinition(sae: SaeWeights, row: number[]): { acts: number[]; reconstruction: number[] } {
  const { dIn, dSae, dOut, k, architecture, applyBDecToInput, normalizeActivations, rescaleActsByDecoderNorm } = sae.config;
  const width = dOut ?? dIn;
  const mean = normalizeActivations === "layer_norm" ? row.reduce((sum, value) => sum + value, 0) / dIn : 0;
  const std = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (dIn - 1));
  const unscale = normalizeActivations === "layer_norm" ? std : normalizeActivations === "constant_norm_rescale" ? Math.hypot(...row) / Math.sqrt(dIn) : 1;
  const divisor = normalizeActivations === "layer_norm" ? std + 1e-5 : unscale;
  const h = row.map((value, i) => (value - mean) / divisor - (applyBDecToInput ? sae.bDec[i]! : 0));
  const norm = (f: number): number => Math.hypot(...sae.wDec.subarray(f * width, (f + 1) * width));
  const pre = Array.from({ length: dSae }, (_, f) => h.reduce((sum, value, i) => sum + value * sae.wEnc[f * dIn + i]!, 0) + sae.bEnc[f]!);
  const rated = pre.map((value, f) => (rescaleActsByDecoderNorm ? value * norm(f) : value));
  const largest = (values: number[]): Set<number> => new Set([...values.keys()].sort((a, b) => values[b]! - values[a]!).slice(0, k));
  const relu = (value: number): number => Math.max(0, value);
  const kinds: Record<SaeConfig["architecture"], () => number[]> = {
    standard: () => pre.map(relu),
    topk: () => rated.map((value, f) => (largest(rated).has(f) ? relu(value) : 0)),
    abstopk: () => rated.map((value, f) => (largest(rated.map(Math.abs)).has(f) ? value : 0)),
    jumprelu: () => pre.map((value, f) => (value > sae.threshold![f]! ? relu(value) : 0)),
    gated: () => pre.map((value, f) => (value + sae.gate!.bGate[f]! > 0 ? relu(value * Math.exp(sae.gate!.rMag[f]!) + sae.gate!.bMag[f]!) : 0)),
    groupmax: () => pre.map((value, f) => {
      const size = dSae / k!;
      const group = pre.slice(f - (f % size), f - (f % size) + size);
      return value === Math.max(...group) ? relu(value) : 0;
    }),
    matching_pursuit: () => pursue(sae, h),
  };
  const acts = kinds[architecture]();
  const [scale, shift] = dOut === undefined ? [unscale, mean] : [1, 0];
  const bias = architecture === "matching_pursuit" && !applyBDecToInput ? () => 0 : (i: number) => sae.bDec[i]!;
  const reconstruction = Array.from({ length: width }, (_, i) => {
    const decoded = acts.reduce((sum, act, f) => sum + (act / (rescaleActsByDecoderNorm ? norm(f) : 1)) * sae.wDec[f * width + i]!, 0) + bias(i);
    const skip = row.reduce((sum, value, j) => sum + value * (sae.wSkip?.[i * dIn + j] ?? 0), 0);
    return decoded * scale + shift + skip;
  });
  return { acts, reconstruction };
}

/** Matching pursuit by its definition: the feature that points best to the residual, again and again. */
function pursue({ wDec, config: { dIn, dSae, matchingPursuit } }: SaeWeights, h: readonly number[]): number[] {
  const { residualThreshold, stopOnDuplicateSupport, maxIterations = dIn } = matchingPursuit!;
  const acts = Array.from({ length: dSae }, () => 0);
  let residual = [...h];
  for (let step = 0; step < maxIterations; step++) {
    const products = acts.map((_, f) => residual.reduce((sum, value, i) => sum + value * wDec[f * dIn + i]!, 0));
    const best = products.indexOf(Math.max(...products));
    const value = Math.max(0, products[best]!);
    const before = acts.map((act) => act !== 0);
    acts[best]! += value;
    residual = residual.map((left, i) => left - value * wDec[best * dIn + i]!);
    if (stopOnDuplicateSupport && acts.every((act, f) => (act !== 0) === before[f])) break;
    if (residualThreshold > 0 && Math.hypot(...residual) < residualThreshold) break;
  }
  return acts;
}

const CONFIGS: Partial<SaeConfig>[] = [];
for (const normalizeActivations of ["none", "layer_norm", "constant_norm_rescale"] as const) {
  for (const applyBDecToInput of [true, false]) {
    for (const architecture of ["standard", "topk", "abstopk", "jumprelu", "gated", "groupmax"] as const) {
      const byK = architecture === "topk" || architecture === "abstopk";
      for (const rescaleActsByDecoderNorm of byK ? [true, false] : [false]) {
        CONFIGS.push({ architecture, normalizeActivations, applyBDecToInput, rescaleActsByDecoderNorm, dIn: 13, dSae: 35, ...(byK || architecture === "groupmax" ? { k: 5 } : {}) });
      }
    }
  }
}

for (const normalizeActivations of ["none", "layer_norm"] as const) {
  for (const skipConnection of [true, false]) {
    for (const architecture of ["standard", "topk", "jumprelu", "groupmax"] as const) {
      CONFIGS.push({ architecture, normalizeActivations, applyBDecToInput: false, skipConnection, dIn: 13, dOut: 9, dSae: 35, ...(architecture === "topk" || architecture === "groupmax" ? { k: 5 } : {}) });
    }
    for (const applyBDecToInput of [true, false]) {
      CONFIGS.push({ architecture: "topk", k: 5, normalizeActivations, applyBDecToInput, skipConnection, dIn: 13, dSae: 35 });
      const matchingPursuit = skipConnection ? { residualThreshold: 2, stopOnDuplicateSupport: false, maxIterations: 6 } : { residualThreshold: 0, stopOnDuplicateSupport: true };
      CONFIGS.push({ architecture: "matching_pursuit", matchingPursuit, normalizeActivations, applyBDecToInput, dIn: 13, dSae: 35 });
    }
  }
}

describe("the codec", () => {
  test("follows the formulas for every architecture, normalisation and flag, on any number of rows", () => {
    const x = noise(ROWS * 13, 77).map((value, i) => value * 2 + (i % 13) / 10);
    for (const changes of CONFIGS) {
      const sae = randomSae(changes, 5);
      const codec = new SaeCodec(sae);
      const codes = codec.encodeRows(x);
      const wanted = Array.from({ length: ROWS }, (_, row) => byDefinition(sae, [...x.subarray(row * 13, (row + 1) * 13)]));
      expect(largestDifference(denseOf(codes), Float32Array.from(wanted.flatMap(({ acts }) => acts)))).toBeLessThan(1e-5);
      expect(largestDifference(codec.decodeRows(codes, codes.stats), Float32Array.from(wanted.flatMap(({ reconstruction }) => reconstruction)))).toBeLessThan(2e-5);
      for (const rows of [1, 3, 32]) expect(codec.encodeDense(x.subarray(0, rows * 13))).toEqual(denseOf(codes).subarray(0, rows * 35));
    }
  });

  test("gives pairs that descend and are never zero", () => {
    for (const architecture of ["standard", "topk", "groupmax"] as const) {
      const codes = new SaeCodec(randomSae({ architecture, dIn: 13, dSae: 35, k: 7 })).encodeRows(noise(40 * 13, 6));
      for (let row = 0; row < 40; row++) {
        const [start, end] = rowBounds(codes, row);
        const values = [...codes.values.subarray(start, end)];
        expect(values).toEqual(values.toSorted((a, b) => b - a));
        expect(values.every((value) => value > 0)).toBe(true);
      }
    }
  });

  test("has an error term that completes the reconstruction", () => {
    const codec = new SaeCodec(randomSae({ architecture: "topk", k: 2, normalizeActivations: "layer_norm" }));
    const x = noise(4 * 6, 2);
    const error = codec.errorTerm(x);
    expect(largestDifference(codec.reconstruct(x).map((value, i) => value + error[i]!), x)).toBeLessThan(1e-6);
  });

  test("keeps a row of zeros finite under every normalisation", () => {
    for (const normalizeActivations of ["none", "layer_norm", "constant_norm_rescale"] as const) {
      const codec = new SaeCodec(randomSae({ normalizeActivations }));
      expect(codec.reconstruct(new Float32Array(6)).every((value) => Number.isFinite(value))).toBe(true);
    }
  });

  test("refuses rows of another width, values that are not finite, and codes of another SAE", () => {
    const codec = new SaeCodec(randomSae());
    expect(() => codec.encodeRows(new Float32Array(7))).toThrow(/got 7 values, wanted a multiple of d_in 6/);
    expect(() => codec.encodeRows(Float32Array.of(0, 0, 0, 0, 0, 0, 0, NaN, 0, 0, 0, 0))).toThrow(/x\[1, 1\]; got NaN/);
    expect(() => codec.decodeRows({ nTokens: 0, k: 1, dSae: 9, indices: new Uint32Array(0), values: new Float32Array(0) })).toThrow(InputError);
  });
});

describe("setting features", () => {
  test("gives every row the value, replaces what fired, and silences with zero", () => {
    const codes = { nTokens: 2, k: 2, dSae: 9, indices: Uint32Array.of(4, 1, 2, 0), values: Float32Array.of(5, 3, 2, 1) };
    const set = setFeatures(codes, [{ feature: 4, value: -2 }, { feature: 2, value: 0 }]);
    expect([...denseOf(set)]).toEqual([0, 3, 0, 0, -2, 0, 0, 0, 0, 1, 0, 0, 0, -2, 0, 0, 0, 0]);
    expect(() => setFeatures(codes, [{ feature: 9, value: 1 }])).toThrow(/got 9, wanted 0 to 8/);
  });
});
