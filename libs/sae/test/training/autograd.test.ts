import { openSafetensors, type StreamedTensor, type TensorSource } from "@mistral-sae/tensor";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { SaeWeights, TrainerConfig } from "../../src/index.ts";
import { HybridTrainer } from "../../src/training/hybrid-trainer.ts";
import { fixture, largestDifference } from "../support.ts";

const cases = JSON.parse(readFileSync(fixture("training_gradients", "cases.json"), "utf8")) as Readonly<Record<string, TrainerConfig>>;

/** The SAE whose tensors a file holds, matrices by feature. */
async function startOf(config: TrainerConfig, file: TensorSource): Promise<SaeWeights> {
  const { architecture = "topk", dIn, dOut, dSae, k, skipConnection = false, normalizeActivations } = config;
  const kept = architecture === "batchtopk" || architecture === "matryoshka_batchtopk" ? "jumprelu" : architecture;
  const read = async (name: string): Promise<Float32Array> => (file.tensors.has(name) ? await file.readF32(name) : new Float32Array(dSae));
  return {
    config: {
      architecture: kept, dIn, dSae, k: kept === "topk" || kept === "abstopk" ? k : undefined, dtype: "float32", applyBDecToInput: dOut === undefined, rescaleActsByDecoderNorm: false,
      normalizeActivations: normalizeActivations === "layer_norm" ? "layer_norm" : "none", reshapeActivations: "none", metadata: {}, ...(dOut === undefined ? {} : { dOut, skipConnection }),
    },
    wEnc: await read("W_enc"),
    bEnc: await read("b_enc"),
    wDec: await read("W_dec"),
    bDec: await read("b_dec"),
    ...(skipConnection ? { wSkip: await read("W_skip") } : {}),
    ...(kept === "jumprelu" ? { threshold: await read("threshold") } : {}),
    ...(kept === "gated" ? { gate: { bGate: await read("b_gate"), bMag: await read("b_mag"), rMag: await read("r_mag") } } : {}),
  };
}

async function stateAfter(config: TrainerConfig, weights: SaeWeights, rows: Float32Array, steps: number): Promise<ReadonlyMap<string, Float32Array>> {
  await using trainer = await HybridTrainer.create(config, { weights, sample: rows });
  const batch = config.trainBatchSizeTokens! * (config.dIn + (config.dOut ?? 0));
  for (let step = 0; step < steps; step++) await trainer.step(rows.subarray(step * batch, (step + 1) * batch));
  const { tensors } = await trainer.state();
  return new Map(Object.entries(tensors).filter(([, { dtype }]) => dtype === "F32").map(([name, tensor]) => [name, valuesOf(tensor)]));
}

function valuesOf({ chunks }: StreamedTensor): Float32Array {
  const bytes = Buffer.concat([...(chunks as Iterable<Uint8Array>)].map((chunk) => Uint8Array.from(chunk)));
  return new Float32Array(Uint8Array.from(bytes).buffer);
}

describe.each(Object.entries(cases))("%s against torch autograd", (name, config) => {
  it.each([1, 2])("has its gradients within 1e-5 of the largest, and its parameters after 100 steps within 1e-4; threads: %i", async (threads) => {
    await using file = await openSafetensors(fixture("training_gradients", `${name}.safetensors`));
    await using data = await openSafetensors(fixture("training_gradients", `rows-${config.dIn + (config.dOut ?? 0)}.safetensors`));
    const [weights, rows] = [await startOf(config, file), await data.readF32("x")];
    // Without memory of earlier steps and without clipping, Adam's first moment is the gradient.
    const first = await stateAfter({ ...config, threads, adamBeta1: 0, gradClipNorm: 0 }, weights, rows, 1);
    const last = await stateAfter({ ...config, threads }, weights, rows, config.trainingTokens / config.trainBatchSizeTokens!);
    const tensors = [...file.tensors.keys()].filter((tensor) => tensor.startsWith("after.")).map((tensor) => tensor.slice("after.".length));
    expect(tensors.length).toBeGreaterThanOrEqual(4);
    for (const tensor of tensors) {
      const gradient = await file.readF32(`gradient.${tensor}`);
      const largest = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      expect(largestDifference(first.get(`adam.exp_avg.${tensor}`)!, gradient), `gradient of ${tensor}`).toBeLessThanOrEqual(1e-5 * largest);
      expect(largestDifference(last.get(tensor)!, await file.readF32(`after.${tensor}`)), tensor).toBeLessThan(1e-4);
    }
  });
});
