import { describe, expect, it } from "vitest";
import { HybridTrainer, type TrainerConfig } from "../../src/index.ts";
import { featuresAt } from "../../src/training/features-at.ts";
import { learningRate } from "../../src/training/schedule.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";
import { type ReferenceOptions, ReferenceTrainer } from "./reference.ts";

interface Case {
  readonly name: string;
  readonly config: Omit<TrainerConfig, "trainingTokens" | "trainBatchSizeTokens">;
  readonly auxK: boolean;
  readonly clipped: boolean;
}

// Seeds under which no selection of the 100 steps hangs on a rounding error of f32.
const [rows, steps] = [64, 100];
const auxiliary = { kAux: 8, auxLossCoefficient: 0.25, deadFeatureWindowTokens: 150 } as const;
const cases: readonly Case[] = [
  { name: "abstopk without AuxK or clipping", config: { architecture: "abstopk", dIn: 24, dSae: 96, k: 4, kAux: 0, gradClipNorm: 0, normalizeActivations: "none" }, auxK: false, clipped: false },
  { name: "abstopk with AuxK, clipping and layer_norm", config: { architecture: "abstopk", dIn: 22, dSae: 129, k: 3, ...auxiliary, gradClipNorm: 0.02, normalizeActivations: "layer_norm", threads: 3, seed: 1 }, auxK: true, clipped: true },
  { name: "batchtopk without AuxK or clipping", config: { architecture: "batchtopk", dIn: 24, dSae: 96, k: 4, kAux: 0, gradClipNorm: 0, normalizeActivations: "none", threads: 1 }, auxK: false, clipped: false },
  { name: "batchtopk with AuxK, clipping and scaled inputs", config: { architecture: "batchtopk", dIn: 22, dSae: 129, k: 3, ...auxiliary, gradClipNorm: 0.02, threads: 3 }, auxK: true, clipped: true },
  { name: "matryoshka_batchtopk without AuxK or clipping", config: { architecture: "matryoshka_batchtopk", matryoshkaWidths: [16, 40], dIn: 24, dSae: 96, k: 4, kAux: 0, gradClipNorm: 0, normalizeActivations: "constant_norm_rescale" }, auxK: false, clipped: false },
  { name: "matryoshka_batchtopk with AuxK and clipping", config: { architecture: "matryoshka_batchtopk", matryoshkaWidths: [5, 64, 129], dIn: 22, dSae: 129, k: 3, ...auxiliary, gradClipNorm: 0.02 }, auxK: true, clipped: true },
  { name: "topk with fewer and fewer features", config: { architecture: "topk", dIn: 24, dSae: 96, k: 2, kStart: 9, kAnnealSteps: 60, ...auxiliary, gradClipNorm: 0 }, auxK: true, clipped: false },
  { name: "abstopk with fewer and fewer features", config: { architecture: "abstopk", dIn: 24, dSae: 96, k: 2, kStart: 9, kAnnealSteps: 60, ...auxiliary, gradClipNorm: 0 }, auxK: true, clipped: false },
  { name: "batchtopk with fewer and fewer features", config: { architecture: "batchtopk", dIn: 24, dSae: 96, k: 2, kStart: 9, kAnnealSteps: 60, ...auxiliary, gradClipNorm: 0 }, auxK: true, clipped: false },
  { name: "a transcoder", config: { dIn: 22, dOut: 30, dSae: 96, k: 4, ...auxiliary, gradClipNorm: 0 }, auxK: true, clipped: false },
  { name: "a transcoder to narrower rows, raw", config: { dIn: 24, dOut: 9, dSae: 96, k: 3, kAux: 0, gradClipNorm: 0.02, normalizeActivations: "none", threads: 3 }, auxK: false, clipped: true },
  { name: "a skip-transcoder", config: { dIn: 24, dOut: 24, skipConnection: true, dSae: 96, k: 4, ...auxiliary, gradClipNorm: 0.02 }, auxK: true, clipped: true },
  { name: "a skip-transcoder with abstopk", config: { architecture: "abstopk", dIn: 20, dOut: 26, skipConnection: true, dSae: 96, k: 4, ...auxiliary, gradClipNorm: 0 }, auxK: true, clipped: false },
  { name: "a skip-transcoder with batchtopk", config: { architecture: "batchtopk", dIn: 27, dOut: 21, skipConnection: true, dSae: 96, k: 4, ...auxiliary, gradClipNorm: 0, threads: 3 }, auxK: true, clipped: false },
  { name: "a skip-transcoder with matryoshka_batchtopk", config: { architecture: "matryoshka_batchtopk", matryoshkaWidths: [20, 50], dIn: 20, dOut: 20, skipConnection: true, dSae: 96, k: 4, ...auxiliary, gradClipNorm: 0 }, auxK: true, clipped: false },
];

describe("100 steps against the formulas in f64:", () => {
  it.each(cases)("$name", async ({ config, auxK, clipped }) => {
    const { dIn: d, dSae: h } = config;
    const width = d + (config.dOut ?? 0);
    const data = mixtureRows(rows * steps, width, 7);
    const full: TrainerConfig = { threads: 2, lr: 1e-3, adamEpsilon: 1e-6, seed: 3, ...config, trainBatchSizeTokens: rows, trainingTokens: rows * steps };
    await using trainer = await HybridTrainer.create(full, { sample: data });
    const { config: resolved } = trainer;
    const { mseScale, inputScale, outputScale = inputScale } = (await trainer.state()).progress;
    const options: ReferenceOptions = {
      d, h, rows, mseScale, inputScale, outputScale,
      dOut: config.dOut,
      k: (step) => featuresAt(step, resolved),
      selection: resolved.architecture === "topk" || resolved.architecture === "abstopk" ? resolved.architecture : "batchtopk",
      ...(resolved.architecture === "matryoshka_batchtopk" ? { widths: resolved.matryoshkaWidths } : {}),
      kAux: resolved.kAux,
      auxLossCoefficient: resolved.auxLossCoefficient,
      deadTokens: resolved.deadFeatureWindowTokens,
      normalize: resolved.normalizeActivations === "expected_average_only_in" ? "scale" : (resolved.normalizeActivations as "none" | "layer_norm" | "constant_norm_rescale"),
      lr: (step) => learningRate(step, resolved),
      beta1: resolved.adamBeta1,
      beta2: resolved.adamBeta2,
      epsilon: resolved.adamEpsilon,
      weightDecay: resolved.weightDecay,
      clip: resolved.gradClipNorm,
    };
    // weights() is for raw rows; the reference works where the trainer does.
    const inside = async () => {
      const weights = await trainer.weights();
      const scaled = (values: Float32Array, factor = outputScale): Float32Array => values.map((value) => value * factor);
      const wEnc = scaled(weights.wEnc, outputScale / inputScale);
      const wSkip = weights.wSkip && scaled(weights.wSkip, outputScale / inputScale);
      return { ...weights, wEnc, wSkip, bEnc: scaled(weights.bEnc), bDec: scaled(weights.bDec), threshold: (weights.threshold?.[0] ?? 0) * outputScale };
    };
    const reference = new ReferenceTrainer(options, await inside());
    const seen = { aux: false, clipped: false };
    let threshold = 0;
    for (let step = 0; step < steps; step++) {
      const batch = data.subarray(step * rows * width, (step + 1) * rows * width);
      const got = await trainer.step(batch);
      const wanted = reference.step(batch);
      threshold = 0.99 * threshold + 0.01 * wanted.smallest;
      expect(got.numDead, `dead latents at step ${got.step}`).toBe(wanted.numDead);
      for (const name of ["mseLoss", "auxLoss", "l0", "fvu", "gradNorm"] as const) expect(got[name], `${name} at step ${got.step}`).toBeCloseTo(wanted[name], 4);
      expect(got.loss, `loss at step ${got.step}`).toBeCloseTo(wanted.mseLoss + wanted.innerLoss + wanted.auxLoss, 4);
      expect(got.topkThreshold ?? threshold, `threshold at step ${got.step}`).toBeCloseTo(threshold, 5);
      if (wanted.auxLoss > 0) seen.aux = true;
      if (wanted.clipped) seen.clipped = true;
    }
    const weights = await inside();
    for (const name of ["wEnc", "bEnc", "wDec", "bDec"] as const) {
      expect(largestDifference(weights[name], Float32Array.from(reference.parameters[name])), name).toBeLessThan(1e-4);
    }
    expect(largestDifference(weights.wSkip ?? new Float32Array(0), Float32Array.from(reference.parameters.wSkip)), "wSkip").toBeLessThan(1e-4);
    expect(weights.threshold).toBeCloseTo(weights.config.architecture === "jumprelu" ? threshold : 0, 5);
    expect(weights.config.architecture === "jumprelu").toBe(options.selection === "batchtopk");
    expect(seen).toEqual({ aux: auxK, clipped });
  });
});
