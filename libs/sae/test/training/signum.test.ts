import { openSafetensors } from "@mistral-sae/tensor";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { restoreNewestCheckpoint, type TrainerConfig, writeCheckpoint } from "../../src/index.ts";
import { rowNorms, type SaeWeights } from "../../src/formats/weights.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { fixture, largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

interface Golden {
  readonly lr: number;
  readonly warm_up: number;
  readonly weight_decay: number;
  readonly mse_scale: number;
  readonly d_in: number;
  readonly d_sae: number;
  readonly k: number;
  readonly batch: number;
  readonly steps: number;
  readonly losses: readonly number[];
}

const parameters = [["W_enc", "wEnc"], ["b_enc", "bEnc"], ["W_dec", "wDec"], ["b_dec", "bDec"]] as const;
let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-signum-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("signum_schedule_free", () => {
  it.each([1, 2])("has the parameters of schedulefree around sparsify's SignSGD after 100 steps, on %i threads", async (threads) => {
    const golden = JSON.parse(await readFile(fixture("signum_schedule_free/run.json"), "utf8")) as Golden;
    await using run = await openSafetensors(fixture("signum_schedule_free/run.safetensors"));
    const { d_in: d, d_sae: h, k, batch, steps } = golden;
    const start: SaeWeights = {
      config: { architecture: "topk", dIn: d, dSae: h, k, dtype: "float32", applyBDecToInput: true, normalizeActivations: "none", reshapeActivations: "none", rescaleActsByDecoderNorm: false, metadata: {} },
      wEnc: await run.readF32("start.W_enc"),
      bEnc: await run.readF32("start.b_enc"),
      wDec: await run.readF32("start.W_dec"),
      bDec: await run.readF32("start.b_dec"),
    };
    const x = await run.readF32("x");
    const config: TrainerConfig = { dIn: d, dSae: h, k, optimizer: "signum_schedule_free", lr: golden.lr, lrWarmUpSteps: golden.warm_up, weightDecay: golden.weight_decay, mseScale: golden.mse_scale, normalizeActivations: "none", kAux: 0, trainBatchSizeTokens: batch, trainingTokens: batch * steps, threads };
    await using trainer = await HybridTrainer.create(config, { weights: start });
    for (let step = 0; step < steps; step++) {
      const from = (step * batch * d) % x.length;
      const { mseLoss } = await trainer.step(x.subarray(from, from + batch * d));
      expect(Math.abs(mseLoss - golden.losses[step]!), `loss at step ${step + 1}`).toBeLessThan(1e-4);
    }
    const average = await trainer.weights();
    for (const [stored, name] of parameters) expect(largestDifference(average[name], await run.readF32(`x.${stored}`)), `average ${stored}`).toBeLessThan(1e-4);
    const { folder } = await writeCheckpoint(join(root, `golden-${threads}`), trainer);
    await using state = await openSafetensors(join(folder, "state.safetensors"));
    for (const [stored] of parameters) {
      expect(largestDifference(await state.readF32(stored), await run.readF32(`y.${stored}`)), `y ${stored}`).toBeLessThan(1e-4);
      expect(largestDifference(await state.readF32(`schedule_free.z.${stored}`), await run.readF32(`z.${stored}`)), `z ${stored}`).toBeLessThan(1e-4);
    }
  });

  it("continues to the same bits from a checkpoint, and gives unit rows that reconstruct better than the start", async () => {
    const [d, rows, steps] = [26, 128, 30];
    const data = mixtureRows(rows * steps, d, 21);
    const config: TrainerConfig = { dIn: d, dSae: 160, k: 4, kAux: 12, deadFeatureWindowTokens: 300, optimizer: "signum_schedule_free", lr: 5e-3, lrWarmUpSteps: 4, trainBatchSizeTokens: rows, trainingTokens: rows * steps, threads: 2, seed: 11 };
    const train = async (trainer: HybridTrainer, from: number, to: number): Promise<number> => {
      let fvu = 0;
      for (let step = from; step < to; step++) ({ fvu } = await trainer.step(data.subarray(step * rows * d, (step + 1) * rows * d)));
      return fvu;
    };
    await using straight = await HybridTrainer.create(config, { sample: data });
    const first = await train(straight, 0, 1);
    const last = await train(straight, 1, steps);
    expect(last).toBeLessThan(first);
    {
      await using half = await HybridTrainer.create(config, { sample: data });
      await train(half, 0, 13);
      await writeCheckpoint(join(root, "resume"), half);
    }
    await using resumed = await HybridTrainer.create({ ...config, seed: 99 }, { sample: data.subarray(0, 20 * d) });
    await restoreNewestCheckpoint(join(root, "resume"), resumed);
    await train(resumed, 13, steps);
    const [one, two] = [await straight.weights(), await resumed.weights()];
    for (const [, name] of parameters) expect(two[name], name).toEqual(one[name]);
    expect(Math.max(...rowNorms(one.wDec, d).map((norm) => Math.abs(norm - 1)))).toBeLessThan(1e-6);
    await using adam = await HybridTrainer.create({ ...config, optimizer: "adam" }, { sample: data });
    await expect(restoreNewestCheckpoint(join(root, "resume"), adam)).rejects.toThrow("optimizer differs");
  });

  it("decides its own rate and momentum", async () => {
    await using trainer = await HybridTrainer.create({ dIn: 4, dSae: 2 ** 14, k: 1, optimizer: "signum_schedule_free", trainingTokens: 1024, threads: 1 }, { sample: mixtureRows(50, 4, 1) });
    expect(trainer.config).toMatchObject({ lr: 5e-3, adamBeta1: 0.95 });
  });
});
