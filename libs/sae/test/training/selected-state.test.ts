import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HybridTrainer, restoreNewestCheckpoint, SaeCodec, type SaeWeights, type TrainerConfig, writeCheckpoint } from "../../src/index.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

const [d, rows, steps] = [26, 128, 16];
const common: TrainerConfig = { dIn: d, dSae: 160, k: 4, kAux: 12, deadFeatureWindowTokens: 300, lr: 2e-3, lrDecaySteps: 8, trainBatchSizeTokens: rows, trainingTokens: rows * steps, threads: 2, seed: 11 };
const kinds: readonly (readonly [string, Partial<TrainerConfig>])[] = [
  ["abstopk", { architecture: "abstopk" }],
  ["batchtopk", { architecture: "batchtopk" }],
  ["matryoshka_batchtopk", { architecture: "matryoshka_batchtopk", matryoshkaWidths: [20, 80] }],
  ["topk with fewer and fewer features", { kStart: 12, kAnnealSteps: 12 }],
  ["batchtopk with fewer and fewer features", { architecture: "batchtopk", kStart: 12, kAnnealSteps: 12 }],
  ["a transcoder", { dOut: 19 }],
  ["a skip-transcoder with batchtopk", { architecture: "batchtopk", dOut: 31, skipConnection: true }],
  ["a skip-transcoder under signum", { dOut: 31, skipConnection: true, optimizer: "signum_schedule_free", lr: 1e-3 }],
];
const names = ["wEnc", "bEnc", "wDec", "bDec", "threshold", "wSkip"] as const;
const none = new Float32Array(0);
let root = "";

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-selected-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe.each(kinds)("%s", (name, options) => {
  const config = { ...common, ...options };
  const signum = options.optimizer === "signum_schedule_free";
  const byBatch = options.architecture === "batchtopk" || options.architecture === "matryoshka_batchtopk";
  const width = d + (options.dOut ?? 0);
  const data = mixtureRows(rows * steps, width, 21);
  const batch = (step: number): Float32Array => data.subarray(step * rows * width, (step + 1) * rows * width);
  const train = async (trainer: HybridTrainer, from: number, to: number): Promise<void> => {
    for (let step = from; step < to; step++) await trainer.step(batch(step));
  };
  const trained = async (change: Partial<TrainerConfig>): Promise<SaeWeights> => {
    await using trainer = await HybridTrainer.create({ ...config, ...change }, { sample: data });
    await train(trainer, 0, steps);
    return await trainer.weights();
  };

  it("continues from a checkpoint to the same bits as a training without a pause", async () => {
    const straight = await trained({});
    const folder = join(root, name.replaceAll(" ", "-"));
    {
      await using first = await HybridTrainer.create(config, { sample: data });
      await train(first, 0, steps / 2);
      await writeCheckpoint(folder, first);
    }
    // Another seed and sample: nothing of the start may reach into the continuation.
    await using second = await HybridTrainer.create({ ...config, seed: 99 }, { sample: data.subarray(0, 20 * width) });
    await restoreNewestCheckpoint(folder, second);
    await train(second, steps / 2, steps);
    const continued = await second.weights();
    for (const tensor of names) expect(continued[tensor], tensor).toEqual(straight[tensor]);
  });

  it("ends at the same bits on the same number of threads, and within 1e-5 on another", async () => {
    // A larger ε keeps elements whose gradient is rounding noise from taking whole steps of Adam.
    const [one, two, again, three] = await Promise.all([1, 2, 2, 3].map((threads) => trained({ threads, adamEpsilon: 1e-6 })));
    for (const tensor of names) {
      expect(again![tensor], tensor).toEqual(two![tensor]);
      const difference = (other: SaeWeights): number => largestDifference(other[tensor] ?? none, one![tensor] ?? none);
      // With signum the sign of rounding noise is a whole step.
      expect(signum ? 0 : Math.max(difference(two!), difference(three!)), tensor).toBeLessThan(1e-5);
    }
  });

  // signum exports an average, not what it trains at.
  if (signum) return;

  it("is exported so that raw rows are reconstructed as the trainer does it, and goes on from what it exported", async () => {
    // A rate of 0: the step tells of the weights that are exported. One batch only sets the threshold of all batches.
    await using trainer = await HybridTrainer.create({ ...config, kStart: config.k, kAnnealSteps: 0, lr: 0, lrDecaySteps: 0, ...(byBatch ? { topkThresholdLr: 1 } : {}) } as TrainerConfig, { sample: data });
    const told = await trainer.step(batch(0));
    const sae = await trainer.weights();
    const dOut = options.dOut ?? d;
    const columns = (from: number, count: number): Float32Array => Float32Array.from({ length: rows * count }, (_, i) => batch(0)[Math.floor(i / count) * width + from + (i % count)]!);
    const [inputs, outputs] = [columns(0, d), columns(width - dOut, dOut)];
    const codec = new SaeCodec(sae);
    const reconstructed = codec.reconstruct(inputs);
    const mean = Float64Array.from({ length: dOut }, (_, i) => outputs.reduce((sum, value, at) => (at % dOut === i ? sum + value / rows : sum), 0));
    let [error, variance] = [0, 0];
    outputs.forEach((value, at) => {
      error += (value - reconstructed[at]!) ** 2;
      variance += (value - mean[at % dOut]!) ** 2;
    });
    // A threshold leaves out the value that equals it.
    expect(error / variance).toBeCloseTo(told.fvu, sae.threshold === undefined ? 5 : 2);
    await using continued = await HybridTrainer.create({ ...config, kStart: config.k, kAnnealSteps: 0 } as TrainerConfig, { sample: data, weights: sae });
    expect((await continued.step(batch(0))).fvu).toBeCloseTo(told.fvu, 5);
  });
});
