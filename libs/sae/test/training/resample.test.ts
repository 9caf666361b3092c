import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { restoreNewestCheckpoint, rowNorms, type TrainerConfig, writeCheckpoint } from "../../src/index.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

const [d, h, rows, steps] = [26, 120, 64, 12];
const data = mixtureRows(rows * steps, d, 31);
const shared: TrainerConfig = { dIn: d, dSae: h, deadFeatureWindowTokens: 2 * rows, resampleEverySteps: 4, trainBatchSizeTokens: rows, trainingTokens: rows * steps, lr: 1e-3, threads: 2, seed: 4, normalizeActivations: "none" };
const configs: Readonly<Record<string, TrainerConfig>> = {
  topk: { ...shared, k: 3, kAux: 0 },
  batchtopk: { ...shared, architecture: "batchtopk", k: 3, kAux: 0 },
  standard: { ...shared, architecture: "standard", l1Coefficient: 0.1 },
  gated: { ...shared, architecture: "gated", l1Coefficient: 0.1 },
  jumprelu: { ...shared, architecture: "jumprelu", l0Coefficient: 0.1, jumpreluInitThreshold: 0.1 },
};
let root = "";

function batch(step: number): Float32Array {
  return data.subarray(step * rows * d, (step + 1) * rows * d);
}

/** A trainer of whose latents every third is far from firing. */
async function open(config: TrainerConfig): Promise<HybridTrainer> {
  await using fresh = await HybridTrainer.create(config, { sample: data });
  const weights = await fresh.weights();
  const lower = (biases: Float32Array): Float32Array => biases.map((bias, f) => (f % 3 === 0 ? bias - 50 : bias));
  const { gate } = weights;
  return await HybridTrainer.create(config, { sample: data, weights: { ...weights, bEnc: gate === undefined ? lower(weights.bEnc) : weights.bEnc, gate: gate && { ...gate, bGate: lower(gate.bGate) } } });
}

function rowOf(matrix: Float32Array, f: number): Float32Array {
  return matrix.subarray(f * d, (f + 1) * d);
}

async function train(trainer: HybridTrainer, from: number, to: number): Promise<number[]> {
  const resampled = [];
  for (let step = from; step < to; step++) resampled.push((await trainer.step(batch(step))).nResampled);
  return resampled;
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-resample-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe.each(Object.entries(configs))("resampling dead latents of %s", (name, config) => {
  it("happens at its steps, never after the last one, and a continued training draws the same", async () => {
    await using straight = await open(config);
    const counts = await train(straight, 0, steps);
    expect(counts.filter((_, step) => (step + 1) % 4 !== 0 || step + 1 === steps).every((count) => count === 0)).toBe(true);
    expect(counts[3]! + counts[7]!).toBeGreaterThan(0);
    await using first = await open(config);
    await train(first, 0, 6);
    await writeCheckpoint(join(root, name), first);
    await using second = await HybridTrainer.create({ ...config, seed: 77 }, { sample: data });
    await restoreNewestCheckpoint(join(root, name), second);
    expect(await train(second, 6, steps)).toEqual(counts.slice(6));
    const [one, two] = [await straight.weights(), await second.weights()];
    for (const tensor of ["wEnc", "bEnc", "wDec", "bDec", "threshold", "gate"] as const) expect(two[tensor], tensor).toEqual(one[tensor]);
  });

  it("gives them rows of the batch as directions, short encoders, and the state of a start", async () => {
    const still = { ...config, lr: 0, lrScheduler: "constant" } as const;
    await using trainer = await open(still);
    const before = await trainer.weights();
    const counts = await train(trainer, 0, 4);
    const after = await trainer.weights();
    const changed = [...Array(h).keys()].filter((f) => largestDifference(rowOf(after.wDec, f), rowOf(before.wDec, f)) > 1e-3);
    expect(changed.length).toBe(counts[3]);
    expect(changed.length).toBeGreaterThan(0);
    const [encoder, decoder] = [rowNorms(after.wEnc, d), rowNorms(after.wDec, d)];
    const mean = (values: Float32Array, of: readonly number[]): number => of.reduce((sum, f) => sum + values[f]!, 0) / of.length;
    const rest = [...Array(h).keys()].filter((f) => !changed.includes(f));
    const directions = Array.from({ length: rows }, (_, b) => batch(3).subarray(b * d, (b + 1) * d).map((value, i) => value - after.bDec[i]!));
    for (const f of changed) {
      const along = directions.map((row) => row.reduce((sum, value, i) => sum + value * after.wDec[f * d + i]!, 0) / Math.hypot(...row) / decoder[f]!);
      expect(Math.max(...along)).toBeCloseTo(1, 5);
      expect(encoder[f]! / (0.2 * mean(rowNorms(before.wEnc, d), rest))).toBeCloseTo(1, 2);
      expect((after.gate?.bGate ?? after.bEnc)[f]).toBe(0);
    }
    expect(new Set(changed.map((f) => rowOf(after.wDec, f).join())).size).toBe(changed.length);
    await writeCheckpoint(join(root, `${name}-still`), trainer);
    await using saved = await openSafetensors(join(root, `${name}-still`, "step-00000004", "state.safetensors"));
    const since = new BigUint64Array((await saved.read("since")).data.slice().buffer);
    expect(changed.every((f) => since[f] === 0n)).toBe(true);
    const moments = await saved.readF32("adam.exp_avg_sq.W_dec");
    expect(changed.every((f) => rowOf(moments, f).every((value) => value === 0))).toBe(true);
  });
});
