import { describe, expect, it } from "vitest";
import { type TrainerConfig } from "../../src/training/config.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import type { TrainerInit } from "../../src/training/initialise.ts";
import { LoopTrainer } from "../../src/training/loop/loop-trainer.ts";
import { learningRate } from "../../src/training/schedule.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";
import { type ReferenceOptions, ReferenceTrainer } from "./reference.ts";

interface Case {
  readonly name: string;
  readonly config: Omit<TrainerConfig, "trainingTokens" | "trainBatchSizeTokens">;
  readonly auxK: "never" | "all dead" | "some of the dead";
  readonly clipped: boolean;
}

const [rows, steps] = [96, 12];
const cases: readonly Case[] = [
  { name: "without AuxK, clipping or normalisation", config: { dIn: 32, dSae: 128, k: 4, kAux: 0, gradClipNorm: 0, normalizeActivations: "none" }, auxK: "never", clipped: false },
  { name: "with AuxK over some of the dead, clipping and layer_norm", config: { dIn: 32, dSae: 256, k: 4, kAux: 8, auxLossCoefficient: 0.25, deadFeatureWindowTokens: 150, gradClipNorm: 0.01, normalizeActivations: "layer_norm" }, auxK: "some of the dead", clipped: true },
  { name: "with AuxK over all dead, weight decay and a schedule, inputs scaled", config: { dIn: 24, dSae: 96, k: 4, kAux: 96, auxLossCoefficient: 0.25, deadFeatureWindowTokens: 200, weightDecay: 0.05, lrWarmUpSteps: 3, lrDecaySteps: 5, lrScheduler: "cosine", threads: 1 }, auxK: "all dead", clipped: false },
  { name: "with rows that no vector divides, three threads, constant_norm_rescale", config: { dIn: 30, dSae: 301, k: 3, kAux: 7, auxLossCoefficient: 0.25, deadFeatureWindowTokens: 150, gradClipNorm: 0.02, normalizeActivations: "constant_norm_rescale", threads: 3 }, auxK: "some of the dead", clipped: true },
];

/** The trainers that must agree with the formulas; the loop runs on the CPU here. */
const trainers = {
  HybridTrainer: async (config: TrainerConfig, init: TrainerInit) => await HybridTrainer.create(config, init),
  LoopTrainer: async (config: TrainerConfig, init: TrainerInit) => await LoopTrainer.create(config, init, "cpu"),
} as const;

describe.each(["HybridTrainer", "LoopTrainer"] as const)("gao by %s against its formulas in f64", (kind) => {
  it.each(cases)("$name", async ({ config, auxK, clipped }) => {
    const { dIn: d, dSae: h } = config;
    const data = mixtureRows(rows * steps, d, 7);
    // A larger ε keeps elements whose gradient is rounding noise from taking whole steps of Adam.
    const full: TrainerConfig = { threads: 2, lr: 2e-3, adamEpsilon: 1e-6, seed: 3, ...config, trainBatchSizeTokens: rows, trainingTokens: rows * steps };
    await using trainer = await trainers[kind](full, { sample: data });
    const { config: resolved } = trainer;
    const state = await trainer.state();
    const { mseScale, inputScale } = state.progress;
    const start = await trainer.weights();
    const options: ReferenceOptions = {
      d, h, k: resolved.k, rows, mseScale, inputScale,
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
    const inside = (weights: typeof start) => ({ wEnc: weights.wEnc, wDec: weights.wDec, bEnc: weights.bEnc.map((b) => b * inputScale), bDec: weights.bDec.map((b) => b * inputScale) });
    const reference = new ReferenceTrainer(options, inside(start));
    const seen = { aux: 0, above: 0, clipped: 0 };
    for (let step = 0; step < steps; step++) {
      const batch = data.subarray(step * rows * d, (step + 1) * rows * d);
      const got = await trainer.step(batch);
      const wanted = reference.step(batch);
      expect(got.numDead, `dead latents at step ${got.step}`).toBe(wanted.numDead);
      for (const name of ["mseLoss", "auxLoss", "fvu", "gradNorm"] as const) expect(got[name], `${name} at step ${got.step}`).toBeCloseTo(wanted[name], 5);
      if (wanted.auxLoss > 0) seen.aux++;
      if (wanted.auxLoss > 0 && wanted.numDead > resolved.kAux) seen.above++;
      if (wanted.clipped) seen.clipped++;
    }
    const weights = inside(await trainer.weights());
    for (const name of ["wEnc", "bEnc", "wDec", "bDec"] as const) {
      expect(largestDifference(weights[name], Float32Array.from(reference.parameters[name])), name).toBeLessThan(1e-5);
    }
    expect({ aux: seen.aux > 0, overflow: seen.above > 0, clipped: seen.clipped > 0 }).toEqual({ aux: auxK !== "never", overflow: auxK === "some of the dead", clipped });
  });
});
