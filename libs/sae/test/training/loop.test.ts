import { InputError } from "@mistral-sae/tensor";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HybridTrainer, LoopTrainer, NonFiniteError, openTrainer, requireTrainable, resolveTrainerConfig, restoreNewestCheckpoint, type TrainerConfig, type TrainerPort, writeCheckpoint } from "../../src/index.ts";
import { planLoopLayout } from "../../src/training/loop/loop-layout.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

const [d, rows, steps] = [26, 128, 16];
// A larger ε keeps elements whose gradient is rounding noise from taking whole steps of Adam.
const config: TrainerConfig = { dIn: d, dSae: 160, k: 4, kAux: 12, deadFeatureWindowTokens: 300, lr: 2e-3, lrDecaySteps: 8, adamEpsilon: 1e-6, trainBatchSizeTokens: rows, trainingTokens: rows * steps, batchSlots: 8, threads: 2, seed: 11 };
const data = mixtureRows(rows * steps, d, 21);
const names = ["wEnc", "bEnc", "wDec", "bDec"] as const;
let root = "";

const batch = (step: number): Float32Array => data.subarray(step * rows * d, (step + 1) * rows * d);

async function train(trainer: TrainerPort, from: number, to: number): Promise<void> {
  await Promise.all(Array.from({ length: to - from }, (_, i) => trainer.step(batch(from + i))));
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-loop-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("LoopTrainer", () => {
  it.each(["gao", "seed_compat"] as const)("goes on from a checkpoint of HybridTrainer, and HybridTrainer from its own: %s", async (formulation) => {
    const chosen: TrainerConfig = formulation === "gao" ? config : { ...config, formulation, deadSteps: 3 };
    await using straight = await HybridTrainer.create(chosen, { sample: data });
    await train(straight, 0, steps);
    const folder = join(root, formulation);
    {
      await using first = await HybridTrainer.create(chosen, { sample: data });
      await train(first, 0, 5);
      await writeCheckpoint(folder, first);
    }
    {
      await using second = await LoopTrainer.create({ ...chosen, seed: 99 }, { sample: data }, "cpu");
      expect((await restoreNewestCheckpoint(folder, second))?.step).toBe(5);
      await train(second, 5, 11);
      expect(second.stepsDone).toBe(11);
      await writeCheckpoint(folder, second);
    }
    await using third = await HybridTrainer.create({ ...chosen, seed: 98 }, { sample: data });
    expect((await restoreNewestCheckpoint(folder, third))?.step).toBe(11);
    await train(third, 11, steps);
    const [one, two] = [await straight.weights(), await third.weights()];
    for (const name of names) expect(largestDifference(two[name], one[name]), name).toBeLessThan(1e-5);
  });

  it("ends at the same bits however many steps share a run, and from a checkpoint", async () => {
    await using together = await LoopTrainer.create(config, { sample: data }, "cpu");
    await train(together, 0, steps);
    await using alone = await LoopTrainer.create({ ...config, batchSlots: 1 }, { sample: data }, "cpu");
    for (let step = 0; step < 7; step++) await alone.step(batch(step));
    await writeCheckpoint(join(root, "alone"), alone);
    await using resumed = await LoopTrainer.create({ ...config, seed: 3 }, { sample: data }, "cpu");
    await restoreNewestCheckpoint(join(root, "alone"), resumed);
    await train(resumed, 7, steps);
    const [one, two] = [await together.weights(), await resumed.weights()];
    for (const name of names) expect(two[name], name).toEqual(one[name]);
  });

  it("keeps the steps around one without a finite result, as HybridTrainer does", async () => {
    const bad = batch(2).slice();
    bad[77] = Number.NaN;
    const results = [];
    for (const loop of [false, true]) {
      await using trainer = await (loop ? LoopTrainer.create(config, { sample: data }, "cpu") : HybridTrainer.create(config, { sample: data }));
      const outcome = await Promise.allSettled([trainer.step(batch(0)), trainer.step(batch(1)), trainer.step(bad), trainer.step(batch(2))]);
      expect(outcome.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
      expect(outcome[2]).toMatchObject({ reason: { step: 3, tensor: "the batch" } });
      expect(outcome[2]?.status === "rejected" && outcome[2].reason).toBeInstanceOf(NonFiniteError);
      expect(trainer.stepsDone).toBe(3);
      results.push(await trainer.weights());
    }
    for (const name of names) expect(largestDifference(results[1]![name], results[0]![name]), name).toBeLessThan(1e-5);
  });

  it.each<[string, Partial<TrainerConfig>]>([
    ["optimizer", { optimizer: "signum_schedule_free" }],
    ["trainBatchSizeTokens", { dSae: 2 ** 20, trainBatchSizeTokens: 2 ** 11, trainingTokens: 2 ** 12, lrDecaySteps: 0 }],
  ])("refuses what it cannot train by the option's name: %s", async (field, other) => {
    const failed = LoopTrainer.create({ ...config, ...other }, { sample: data }, "cpu");
    await expect(failed).rejects.toThrow(InputError);
    await expect(failed).rejects.toMatchObject({ field });
  });

  it("holds a full-width SAE in a memory of more than 4 GiB, without gradients, and refuses one that no memory holds", () => {
    const full = resolveTrainerConfig({ dIn: 4096, dSae: 131_072, k: 128, trainingTokens: 1e6, threads: 2, maxMemoryBytes: 64 * 2 ** 30 });
    const layout = planLoopLayout(full);
    // Six matrices of 131,072 rows of 4,100 columns.
    expect(layout.bytes / (6 * 131_072 * 4100 * 4)).toBeCloseTo(1, 1);
    requireTrainable(full, "cuda");
    expect(() => requireTrainable({ ...full, dSae: 262_144 }, "cuda")).toThrow("at most 16.00 GiB");
    expect(() => requireTrainable({ ...full, maxMemoryBytes: 2 ** 34 }, "cuda")).toThrow("weights and moments twice");
    expect(() => requireTrainable(full)).toThrow("in one memory of at most 4.00 GiB");
  });

  it("says what is missing where CUDA cannot run, and does not fall back to the CPU", async () => {
    const failed = openTrainer(config, { sample: data }, "cuda");
    await expect(failed).rejects.toThrow(/the execution provider cannot run here: .*wanted an NVIDIA GPU with its driver/);
    await expect(failed).rejects.toMatchObject({ field: "provider", got: "cuda" });
  });
});
