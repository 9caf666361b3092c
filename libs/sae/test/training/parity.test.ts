import { openSafetensors } from "@mistral-sae/tensor";
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import type { SaeWeights } from "../../src/formats/weights.ts";
import type { TrainerConfig } from "../../src/training/config.ts";
import type { TrainerInit } from "../../src/training/initialise.ts";
import { LoopTrainer } from "../../src/training/loop/loop-trainer.ts";
import type { TrainerPort } from "../../src/training/trainer-port.ts";
import { fixture, largestDifference } from "../support.ts";

interface Log {
  readonly config: { readonly lr: number; readonly dead_steps: number };
  readonly steps: readonly { readonly mse: number; readonly auxk: number; readonly num_dead: number; readonly grad_norm: number }[];
}

const [d, h, k, rows] = [64, 512, 16, 128];

async function parametersAfter(step: number): Promise<SaeWeights> {
  await using file = await openSafetensors(fixture(`seed_training_parity/params_step${step}.safetensors`));
  const wEncColumns = await file.readF32("w_enc");
  const wEnc = new Float32Array(h * d);
  for (let i = 0; i < d; i++) for (let f = 0; f < h; f++) wEnc[f * d + i] = wEncColumns[i * h + f]!;
  return {
    config: { architecture: "topk", dIn: d, dSae: h, k, dtype: "float32", applyBDecToInput: true, normalizeActivations: "layer_norm", reshapeActivations: "none", rescaleActsByDecoderNorm: false, metadata: {} },
    wEnc,
    bEnc: await file.readF32("b_enc"),
    wDec: await file.readF32("w_dec"),
    bDec: await file.readF32("b_pre"),
  };
}

describe.each([
  { kind: "HybridTrainer", threads: 1 },
  { kind: "HybridTrainer", threads: 2 },
  { kind: "LoopTrainer", threads: 2 },
] as const)("seed_compat by $kind against the original's own run in f64, on $threads threads", ({ kind, threads }) => {
  let trainer: TrainerPort;
  let log: Log;
  let x: Float32Array;

  beforeAll(async () => {
    log = JSON.parse(await readFile(fixture("seed_training_parity/log.json"), "utf8")) as Log;
    await using data = await openSafetensors(fixture("seed_training_parity/data.safetensors"));
    x = await data.readF32("x");
    const create = kind === "HybridTrainer" ? async (config: TrainerConfig, init: TrainerInit) => await HybridTrainer.create(config, init) : async (config: TrainerConfig, init: TrainerInit) => await LoopTrainer.create(config, init, "cpu");
    trainer = await create(
      { dIn: d, dSae: h, k, formulation: "seed_compat", trainBatchSizeTokens: rows, trainingTokens: 100 * rows, lr: log.config.lr, deadFeatureWindowTokens: log.config.dead_steps * 256, threads },
      { weights: await parametersAfter(0) },
    );
  });
  afterAll(() => trainer.close());

  it("has its losses and dead latents at every step, and its parameters after 1, 10 and 100 steps", async () => {
    for (let step = 1; step <= 100; step++) {
      const metrics = await trainer.step(x.subarray((step - 1) * rows * d, step * rows * d));
      const wanted = log.steps[step - 1]!;
      expect(metrics.numDead, `dead latents at step ${step}`).toBe(wanted.num_dead);
      expect(Math.abs(metrics.mseLoss - wanted.mse), `mse at step ${step}`).toBeLessThan(1e-6);
      expect(Math.abs(metrics.auxLoss - wanted.auxk), `aux at step ${step}`).toBeLessThan(1e-6);
      expect(Math.abs(metrics.gradNorm - wanted.grad_norm), `gradient norm at step ${step}`).toBeLessThan(1e-6);
      if (![1, 10, 100].includes(step)) continue;
      const [got, reference] = [await trainer.weights(), await parametersAfter(step)];
      for (const name of ["wEnc", "bEnc", "wDec", "bDec"] as const) {
        expect(largestDifference(got[name], reference[name]), `${name} after step ${step}`).toBeLessThan(1e-5);
      }
    }
  });
});
