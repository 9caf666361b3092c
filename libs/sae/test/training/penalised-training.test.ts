import { openSafetensors } from "@mistral-sae/tensor";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { denseOf, loadSae, namedTensors, restoreNewestCheckpoint, SaeCodec, type SaeWeights, type TrainerConfig, writeCheckpoint, writeSae } from "../../src/index.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { largestDifference } from "../support.ts";
import { mixtureRows } from "./data.ts";

const [d, h, rows, steps] = [26, 100, 64, 12];
const data = mixtureRows(rows * steps, d, 41);
const shared: TrainerConfig = { dIn: d, dSae: h, trainBatchSizeTokens: rows, trainingTokens: rows * steps, lr: 2e-3, threads: 2, seed: 6, deadFeatureWindowTokens: 2 * rows, decoderInitNorm: 0.5 };
const configs: Readonly<Record<string, TrainerConfig>> = {
  standard: { ...shared, architecture: "standard", l1Coefficient: 0.2, l1WarmUpSteps: 8 },
  gated: { ...shared, architecture: "gated", l1Coefficient: 0.2 },
  "jumprelu with step": { ...shared, architecture: "jumprelu", l0Coefficient: 0.05, l0WarmUpSteps: 8 },
  "jumprelu with tanh": { ...shared, architecture: "jumprelu", jumpreluSparsityLossMode: "tanh", jumpreluSteToInput: true, preActLossCoefficient: 0.01, l0Coefficient: 0.05 },
};
let root = "";

async function train(trainer: HybridTrainer, from: number, to: number): Promise<void> {
  for (let step = from; step < to; step++) await trainer.step(data.subarray(step * rows * d, (step + 1) * rows * d));
}

/** The largest difference between two SAEs' numbers. */
function differences(got: SaeWeights, wanted: SaeWeights): number {
  const others = new Map(namedTensors(wanted).map(([tensor, values]) => [tensor, values]));
  expect(namedTensors(got).map(([tensor]) => tensor)).toEqual([...others.keys()]);
  return Math.max(...namedTensors(got).map(([tensor, values]) => largestDifference(values, others.get(tensor)!)));
}

/** The SAE in a checkpoint, as it is for scaled rows. */
async function insideOf(path: string, { config }: SaeWeights): Promise<SaeWeights> {
  await using file = await openSafetensors(path);
  const read = async (tensor: string): Promise<Float32Array> => await file.readF32(tensor);
  const gated = config.architecture === "gated";
  return {
    config,
    wEnc: await read("W_enc"),
    bEnc: gated ? new Float32Array(h) : await read("b_enc"),
    wDec: await read("W_dec"),
    bDec: await read("b_dec"),
    ...(config.architecture === "jumprelu" ? { threshold: await read("threshold") } : {}),
    ...(gated ? { gate: { bGate: await read("b_gate"), bMag: await read("b_mag"), rMag: await read("r_mag") } } : {}),
  };
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "sae-penalised-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe.each(Object.entries(configs))("a training of %s", (name, config) => {
  it("continues from a checkpoint to the same bits as one without a pause", async () => {
    await using straight = await HybridTrainer.create(config, { sample: data });
    await train(straight, 0, steps);
    await using first = await HybridTrainer.create(config, { sample: data });
    await train(first, 0, steps / 2);
    await writeCheckpoint(join(root, name), first);
    await using second = await HybridTrainer.create({ ...config, seed: 99 }, { sample: data.subarray(0, 20 * d) });
    await restoreNewestCheckpoint(join(root, name), second);
    await train(second, steps / 2, steps);
    const [one, two] = [await straight.weights(), await second.weights()];
    expect(differences(two, one)).toBe(0);
  });

  it("ends at the same bits on the same number of threads, and close by on another", async () => {
    const results: SaeWeights[] = [];
    for (const threads of [1, 2, 2, 3]) {
      await using trainer = await HybridTrainer.create({ ...config, threads, adamEpsilon: 1e-5 }, { sample: data });
      await train(trainer, 0, steps);
      results.push(await trainer.weights());
    }
    const [one, two, again, three] = results;
    expect(again).toEqual(two);
    for (const other of [two!, three!]) expect(differences(other, one!)).toBeLessThan(1e-5);
  });

  it("saves an SAE that encodes raw rows to what the trainer encodes scaled rows to", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    await train(trainer, 0, steps);
    const { inputScale } = (await trainer.state()).progress;
    expect(Math.abs(inputScale - 1)).toBeGreaterThan(0.05);
    const { folder } = await writeCheckpoint(join(root, `${name}-last`), trainer);
    const written = join(root, `${name}-sae`);
    await writeSae(written, await trainer.weights());
    const { sae } = await loadSae(written);
    const raw = data.subarray(0, 50 * d);
    const wanted = denseOf(new SaeCodec(await insideOf(join(folder, "state.safetensors"), sae)).encodeRows(raw.map((value) => value * inputScale)));
    expect(wanted.some((value) => value > 0)).toBe(true);
    expect(largestDifference(denseOf(new SaeCodec(sae).encodeRows(raw)), wanted)).toBeLessThan(1e-5);
  });

  it.each(["none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "covariance_whitening"] as const)("has the features of its saved SAE, rows normalised by %s", async (normalizeActivations) => {
    const still = { ...config, normalizeActivations, lrDecaySteps: 0 };
    await using trainer = await HybridTrainer.create(still, { sample: data });
    await train(trainer, 0, 3);
    const codes = new SaeCodec(await trainer.weights()).encodeRows(data.subarray(3 * rows * d, 4 * rows * d));
    const { l0, fvu } = await trainer.step(data.subarray(3 * rows * d, 4 * rows * d));
    expect(fvu).toBeLessThan(1);
    // A pre-activation at its threshold may fall on either side in another order of sums.
    expect(Math.abs(denseOf(codes).filter((value) => value > 0).length - l0 * rows)).toBeLessThanOrEqual(2);
  });

  it("starts from a saved SAE where that one ended", async () => {
    await using trainer = await HybridTrainer.create(config, { sample: data });
    await train(trainer, 0, steps);
    const saved = await trainer.weights();
    await using next = await HybridTrainer.create(config, { sample: data, weights: saved });
    const again = await next.weights();
    expect(differences(again, saved)).toBeLessThan(1e-6);
  });
});
