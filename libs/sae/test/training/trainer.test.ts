import { openSafetensors, sha256File } from "@mistral-sae/tensor";
import { cp, mkdir, mkdtemp, open, readdir, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listCheckpoints, loadSae, NonFiniteError, restoreNewestCheckpoint, type TrainerConfig, writeCheckpoint, writeSae } from "../../src/index.ts";
import { rowNorms } from "../../src/formats/weights.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

const [d, rows, steps] = [26, 128, 16];
const config: TrainerConfig = { dIn: d, dSae: 160, k: 4, kAux: 12, deadFeatureWindowTokens: 300, lr: 2e-3, lrDecaySteps: 8, trainBatchSizeTokens: rows, trainingTokens: rows * steps, threads: 2, seed: 11 };
const data = mixtureRows(rows * steps, d, 21);
const names = ["wEnc", "bEnc", "wDec", "bDec"] as const;
let root = "";

async function train(trainer: HybridTrainer, from: number, to: number): Promise<void> {
  for (let step = from; step < to; step++) await trainer.step(batch(step));
}

function batch(step: number): Float32Array {
  return data.subarray(step * rows * d, (step + 1) * rows * d);
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-trainer-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe.each(["gao", "seed_compat"] as const)("a checkpoint of %s", (formulation) => {
  const chosen: TrainerConfig = formulation === "gao" ? config : { ...config, formulation, deadSteps: 3 };

  it("continues to the same bits as a training without a pause", async () => {
    const folder = join(root, `${formulation}-resume`);
    await using straight = await HybridTrainer.create(chosen, { sample: data });
    await train(straight, 0, steps);
    {
      await using first = await HybridTrainer.create(chosen, { sample: data });
      await train(first, 0, steps / 2);
      await writeCheckpoint(folder, first, { extra: { row: 7 } });
    }
    // Another seed: nothing of the start may reach into the continuation.
    await using second = await HybridTrainer.create({ ...chosen, seed: 99 }, { restored: true });
    await expect(second.step(batch(0))).rejects.toThrow("restore() first");
    const restored = await restoreNewestCheckpoint(folder, second);
    expect(restored).toMatchObject({ step: steps / 2, extra: { row: 7 } });
    expect(second.stepsDone).toBe(steps / 2);
    await train(second, steps / 2, steps);
    const [one, two] = [await straight.weights(), await second.weights()];
    for (const name of names) expect(two[name], name).toEqual(one[name]);
    const [written, again] = [join(root, `${formulation}-a`), join(root, `${formulation}-b`)];
    expect((await writeSae(written, one)).weightsSha256).toBe((await writeSae(again, two)).weightsSha256);
  });
});

describe("checkpoints", () => {
  it("keep the newest two, and a torn one is passed over for the one before it", async () => {
    const folder = join(root, "torn");
    await using trainer = await HybridTrainer.create(config, { sample: data });
    for (const step of [1, 2, 3]) {
      await train(trainer, step - 1, step);
      await writeCheckpoint(folder, trainer);
    }
    expect((await listCheckpoints(folder)).map(({ step }) => step)).toEqual([3, 2]);
    // What a lost process leaves: a folder that was never renamed, and one whose state lost a byte.
    await mkdir(join(folder, ".unfinished-step-00000004"));
    const state = await open(join(folder, "step-00000003", "state.safetensors"), "r+");
    await state.truncate((await state.stat()).size - 1);
    await state.close();
    await using other = await HybridTrainer.create(config, { sample: data });
    expect((await restoreNewestCheckpoint(folder, other))?.step).toBe(2);
    // A flipped byte does not show in the size.
    await cp(join(folder, "step-00000002"), join(folder, "step-00000009"), { recursive: true });
    const flipped = await open(join(folder, "step-00000009", "state.safetensors"), "r+");
    await flipped.write(new Uint8Array([0xff]), 0, 1, 4000);
    await flipped.close();
    expect((await restoreNewestCheckpoint(folder, other))?.step).toBe(2);
  });

  it("are written whole or not at all, and without one there is nothing to restore", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    expect(await restoreNewestCheckpoint(join(root, "none"), trainer)).toBeUndefined();
    const folder = join(root, "whole");
    const checkpoint = await writeCheckpoint(folder, trainer);
    expect(await readdir(folder)).toEqual(["step-00000000"]);
    expect(checkpoint.sha256).toBe(await sha256File(join(checkpoint.folder, "manifest.json")));
    await rename(join(checkpoint.folder, "manifest.json"), join(checkpoint.folder, "lost.json"));
    expect(await listCheckpoints(folder)).toEqual([]);
  });

  it("of another SAE are refused with the option that differs", async () => {
    const folder = join(root, "other");
    await using trainer = await HybridTrainer.create(config, { sample: data });
    await writeCheckpoint(folder, trainer);
    await using wider = await HybridTrainer.create({ ...config, dSae: 161 }, { sample: data });
    await expect(restoreNewestCheckpoint(folder, wider)).rejects.toThrow("dSae differs (got 160, wanted 161)");
  });
});

describe("a training", () => {
  it("ends within 1e-5 on another number of threads, and at the same bits on the same", async () => {
    const results = [];
    for (const threads of [1, 2, 2, 3]) {
      await using trainer = await HybridTrainer.create({ ...config, threads, adamEpsilon: 1e-6 }, { sample: data });
      await train(trainer, 0, steps);
      results.push(await trainer.weights());
    }
    const [one, two, again, three] = results;
    for (const name of names) {
      expect(again![name], name).toEqual(two![name]);
      expect(largestDifference(two![name], one![name]), name).toBeLessThan(1e-5);
      expect(largestDifference(three![name], one![name]), name).toBeLessThan(1e-5);
    }
  });

  it("saves unit decoder rows at any step, and reconstructs raw rows as it did inside", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    const folder = join(root, "units");
    let last;
    for (let step = 0; step < steps; step++) {
      last = await trainer.step(batch(step));
      const { wDec } = await trainer.weights();
      expect(Math.max(...rowNorms(wDec, d).map((norm) => Math.abs(norm - 1)))).toBeLessThan(1e-6);
    }
    await writeSae(folder, await trainer.weights({ hook_name: "blocks.0.hook_resid_post" }));
    const { sae } = await loadSae(folder);
    expect(sae.config).toMatchObject({ normalizeActivations: "none", k: 4, rescaleActsByDecoderNorm: false, metadata: { hook_name: "blocks.0.hook_resid_post" } });
    // The exported SAE goes on from where it is: its first step sees the loss that the last one left.
    await using continued = await HybridTrainer.create(config, { sample: data, weights: sae });
    const first = await continued.step(batch(steps - 1));
    expect(first.fvu).toBeLessThan(last!.fvu);
  });

  it("lets the auxiliary gradient reach the encoder of dead latents, and of no others", async () => {
    const still: TrainerConfig = { ...config, lr: 0, trainingTokens: rows * 3, lrDecaySteps: 0, normalizeActivations: "none", gradClipNorm: 0 };
    const moments = async (kAux: number): Promise<{ readonly enc: Float32Array; readonly dead: readonly number[] }> => {
      await using trainer = await HybridTrainer.create({ ...still, kAux }, { sample: data });
      const folder = join(root, `aux-${kAux}`);
      for (let step = 0; step < 3; step++) await trainer.step(batch(step));
      const { folder: saved } = await writeCheckpoint(folder, trainer);
      await using file = await openSafetensors(join(saved, "state.safetensors"));
      const since = new BigUint64Array((await file.read("since")).data.buffer);
      return { enc: await file.readF32("adam.exp_avg.W_enc"), dead: [...since.keys()].filter((f) => since[f]! >= 300n) };
    };
    const [without, withAux] = [await moments(0), await moments(12)];
    expect(withAux.dead.length).toBeGreaterThan(0);
    const norm = (values: Float32Array, f: number): number => Math.hypot(...values.subarray(f * d, (f + 1) * d));
    // With a rate of 0 nothing moves, so that a latent that never fired has a moment from the auxiliary loss alone.
    const moved = withAux.dead.filter((f) => norm(withAux.enc, f) > 0 && norm(without.enc, f) === 0);
    expect(moved.length).toBeGreaterThan(0);
    for (let f = 0; f < config.dSae; f++) {
      if (withAux.dead.includes(f)) continue;
      expect(withAux.enc.subarray(f * d, (f + 1) * d)).toEqual(without.enc.subarray(f * d, (f + 1) * d));
    }
  });

  it("takes a batch from a slot as it takes one from an array, several steps asked for at once", async () => {
    await using one = await HybridTrainer.create(config, { sample: data });
    await using two = await HybridTrainer.create(config, { sample: data });
    await train(one, 0, 4);
    for (const start of [0, 2]) {
      for (const slot of [0, 1]) {
        for (let row = 0; row < rows; row++) two.slot(slot).set(batch(start + slot).subarray(row * d, (row + 1) * d), row * two.rowStride);
      }
      await Promise.all([two.step(0), two.step(1)]);
    }
    await using three = await HybridTrainer.create(config, { sample: data });
    const all = await Promise.all([0, 1, 2, 3].map((step) => three.step(batch(step))));
    expect(all.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    expect((await two.weights()).wEnc).toEqual((await one.weights()).wEnc);
    expect((await three.weights()).wEnc).toEqual((await one.weights()).wEnc);
  });
});

describe("a step without a finite result", () => {
  it("names the step and the batch, and leaves the weights as they were", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    await train(trainer, 0, 2);
    const before = await trainer.weights();
    const bad = batch(2).slice();
    bad[77] = Number.NaN;
    const failed = trainer.step(bad);
    await expect(failed).rejects.toThrow(NonFiniteError);
    await expect(failed).rejects.toMatchObject({ step: 3, tensor: "the batch" });
    expect((await trainer.weights()).wDec).toEqual(before.wDec);
    expect((await trainer.step(batch(2))).step).toBe(3);
  });

  it("names the error when finite rows are too large to be squared", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    await expect(trainer.step(batch(0).map((value) => value * 1e30))).rejects.toMatchObject({ step: 1, tensor: "the squared error" });
  });
});
