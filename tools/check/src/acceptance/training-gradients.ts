import { HybridTrainer, type SaeWeights, type TrainerConfig } from "@mistral-sae/sae";
import { openSafetensors, type TensorSource, writeSafetensors } from "@mistral-sae/tensor";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Configurations by case, as {@link trainCases} finds them in a folder. */
export type GradientCases = Readonly<Record<string, TrainerConfig>>;

/**
 * Trains every case of `cases.json` in a folder from the weights `<case>.start.safetensors` on the rows x of `<case>.rows.safetensors`: the trainer's
 * state, with everything under the names of its checkpoints, goes to `<case>.gradients.safetensors` after one step with β1 = 0 and no
 * clipping, where Adam's first moment is the gradient, and to `<case>.parameters.safetensors` after all steps of the case.
 */
export async function trainCases(folder: string): Promise<void> {
  const cases = JSON.parse(await readFile(join(folder, "cases.json"), "utf8")) as GradientCases;
  for (const [name, config] of Object.entries(cases)) {
    await using start = await openSafetensors(join(folder, `${name}.start.safetensors`));
    await using data = await openSafetensors(join(folder, `${name}.rows.safetensors`));
    const [weights, rows] = [await startOf(config, start), await data.readF32("x")];
    await train({ ...config, adamBeta1: 0, gradClipNorm: 0 }, weights, rows, 1, join(folder, `${name}.gradients.safetensors`));
    await train(config, weights, rows, config.trainingTokens / config.trainBatchSizeTokens!, join(folder, `${name}.parameters.safetensors`));
  }
}

async function train(config: TrainerConfig, weights: SaeWeights, rows: Float32Array, steps: number, path: string): Promise<void> {
  await using trainer = await HybridTrainer.create(config, { weights, sample: rows });
  const batch = config.trainBatchSizeTokens! * (config.dIn + (config.dOut ?? 0));
  for (let step = 0; step < steps; step++) await trainer.step(rows.subarray(step * batch, (step + 1) * batch));
  await writeSafetensors(path, (await trainer.state()).tensors);
}

/** The SAE whose tensors a file holds under SAELens' names, each matrix by feature: W_enc [d_sae, d_in]. */
async function startOf(config: TrainerConfig, file: TensorSource): Promise<SaeWeights> {
  const { architecture = "topk", dIn, dOut, dSae } = config;
  const read = async (name: string): Promise<Float32Array> => await file.readF32(name);
  const kept = architecture === "batchtopk" || architecture === "matryoshka_batchtopk" ? "jumprelu" : architecture;
  const gated = kept === "gated";
  return {
    config: {
      architecture: kept,
      dIn,
      dSae,
      ...(dOut === undefined ? {} : { dOut, skipConnection: config.skipConnection ?? false }),
      ...(kept === "topk" || kept === "abstopk" ? { k: config.k } : {}),
      dtype: "float32",
      applyBDecToInput: dOut === undefined,
      normalizeActivations: config.normalizeActivations === "layer_norm" ? "layer_norm" : "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: {},
    },
    wEnc: await read("W_enc"),
    bEnc: gated ? new Float32Array(dSae) : await read("b_enc"),
    wDec: await read("W_dec"),
    bDec: await read("b_dec"),
    ...(file.tensors.has("W_skip") ? { wSkip: await read("W_skip") } : {}),
    ...(kept === "jumprelu" ? { threshold: architecture === "jumprelu" ? await read("threshold") : new Float32Array(dSae) } : {}),
    ...(gated ? { gate: { bGate: await read("b_gate"), bMag: await read("b_mag"), rMag: await read("r_mag") } } : {}),
  };
}

// node tools/check/src/acceptance/training-gradients.ts FOLDER
if (process.argv[1] === fileURLToPath(import.meta.url)) await trainCases(process.argv[2]!);
