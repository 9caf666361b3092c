import { describe, expect, it } from "vitest";
import { resolveTrainerConfig, type TrainerConfig, trainingMemory } from "../../src/index.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { mixtureRows } from "./data.ts";

const config: TrainerConfig = { dIn: 8, dSae: 16, k: 2, trainBatchSizeTokens: 32, trainingTokens: 320, threads: 1 };
const sample = mixtureRows(64, 8, 1);

describe("a configuration", () => {
  it.each<[string, Partial<TrainerConfig>, string]>([
    ["k beyond the width", { k: 17 }, "k is out of range (got 17, wanted 1 to 16)"],
    ["a width that is no whole number", { dSae: 1.5 }, "dSae is not a whole number (got 1.5, wanted 1 or more)"],
    ["fewer rows than a batch", { trainingTokens: 31 }, "trainingTokens is out of range (got 31, wanted at least 32)"],
    ["a rate that is no number", { lr: Number.NaN }, "lr is out of range (got NaN, wanted at least 0)"],
    ["seed_compat without layer_norm", { formulation: "seed_compat", normalizeActivations: "none" }, "seed_compat trains on layer-normalised rows (field normalizeActivations; got none, wanted layer_norm)"],
    ["a dead rule in steps for gao", { deadSteps: 4 }, "got 4, wanted nothing"],
    ["a schedule longer than the run", { lrWarmUpSteps: 6, lrDecaySteps: 5 }, "warm-up and decay are longer than the run (field lrDecaySteps; got 11, wanted at most 10 steps together)"],
  ])("with %s is refused", (_, change, message) => {
    expect(() => resolveTrainerConfig({ ...config, ...change })).toThrow(message);
  });

  it("takes the original's numbers for seed_compat", () => {
    expect(resolveTrainerConfig({ ...config, dSae: 2 ** 16, formulation: "seed_compat" })).toMatchObject({ lr: 1e-4, weightDecay: 0.01, kAux: 4, mseScale: 1 / 19.9776, deadSteps: 39_062.5, normalizeActivations: "layer_norm", adamEpsilon: 6.25e-10 });
  });
});

describe("a trainer", () => {
  it("that needs more memory than it may take is refused with the numbers, before it takes any", async () => {
    const large: TrainerConfig = { ...config, dIn: 4096, dSae: 131_072 };
    expect(trainingMemory(resolveTrainerConfig(large)).parameters).toBe(6 * 131_072 * 4100 * 4);
    await expect(HybridTrainer.create(large, { sample })).rejects.toThrow("an SAE in one memory of at most 4.00 GiB; d_in 4096, d_sae 131072, batch 32 needs weights and moments 12.01 GiB");
    await expect(HybridTrainer.create({ ...config, maxMemoryBytes: 4096 }, { sample })).rejects.toThrow(/not enough memory to train.*wanted at most 0.0 MiB/);
  });

  it.each<[string, Partial<TrainerConfig>, Float32Array | undefined, string]>([
    ["without the sample that its normalisation needs", {}, undefined, "expected_average_only_in is measured on a sample of the data"],
    ["without the sample that b_dec needs", { normalizeActivations: "none" }, undefined, "b_dec from mean is measured on a sample of the data"],
    ["with a sample of part rows", {}, sample.subarray(3), "the sample is not whole rows (got 509 values, wanted a multiple of 8)"],
    ["with a sample of equal rows", {}, new Float32Array(64).fill(1), "the sample has no finite variance"],
    ["with a sample that is not finite", {}, new Float32Array(64).fill(Number.NaN), "no finite average norm"],
  ])("%s is refused", async (_, change, rows, message) => {
    await expect(HybridTrainer.create({ ...config, ...change }, { sample: rows })).rejects.toThrow(message);
  });

  it("starts without a sample when nothing is left to measure", async () => {
    await using trainer = await HybridTrainer.create({ ...config, normalizeActivations: "none", bDecInitMethod: "zeros", mseScale: 1 });
    expect((await trainer.weights()).bDec).toEqual(new Float32Array(8));
  });

  it("refuses a part batch and a slot that does not exist, and every call after its end", async () => {
    const trainer = await HybridTrainer.create(config, { sample });
    await expect(trainer.step(new Float32Array(31 * 8))).rejects.toThrow("a step takes whole batches (field batch; got 248 values, wanted 32 rows of 8)");
    await expect(trainer.step(2)).rejects.toThrow("no such batch slot (got 2, wanted 0 to 1)");
    const batch = sample.subarray(0, 32 * 8);
    const last = Promise.all([trainer.step(batch), trainer.step(batch)]);
    await Promise.all([last, trainer.close()]);
    await expect(trainer.step(batch)).rejects.toThrow("the trainer is closed");
    await expect(trainer.step(0)).rejects.toThrow("the trainer is closed");
    await expect(trainer.weights()).rejects.toThrow("the trainer is closed");
    await trainer.close();
  });
});
