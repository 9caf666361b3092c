import { HybridTrainer, type SaeWeights } from "@mistral-sae/sae";
import { type Contest, shared } from "./job.ts";

/** Steps that are asked for ahead. */
const ahead = 2;

/** Trains on the rows [n, d_in] in their order. */
export async function trainOurs(rows: Float32Array, d: number, { architecture, options }: Contest, seed: number, coefficientFactor: number, sparsity: Contest["sparsity"]): Promise<SaeWeights> {
  const { batch, tokens, dSae, deadSteps, lrDecaySteps, normalize } = shared;
  const scaled = sparsity === undefined ? {} : { [sparsity.option]: (options[sparsity.option] ?? 1) * coefficientFactor };
  const window = ["topk", "abstopk", "batchtopk", "matryoshka_batchtopk"].includes(architecture) ? { deadFeatureWindowTokens: deadSteps * batch } : {};
  await using trainer = await HybridTrainer.create(
    { ...options, ...scaled, ...window, architecture, dIn: d, dSae, trainingTokens: tokens, trainBatchSizeTokens: batch, normalizeActivations: normalize, lrDecaySteps, seed, threads: 2 },
    { sample: rows.subarray(0, 32 * batch * d) },
  );
  const running: Promise<unknown>[] = [];
  for (let at = 0; at < tokens; at += batch) {
    running.push(trainer.step(rows.subarray(at * d, (at + batch) * d)));
    if (running.length >= ahead) await running.shift();
  }
  await Promise.all(running);
  return await trainer.weights();
}
