import { HybridTrainer } from "@mistral-sae/sae";
import { batchCount } from "./batches.ts";
import type { Contender, Shape } from "./contender.ts";

/** This project's trainer at its defaults, with every batch in a slot of its own. */
export async function ourContender({ dIn, dSae, k, batch }: Shape, threads: number, batches: Float32Array): Promise<Contender & AsyncDisposable> {
  const config = { dIn, dSae, k, trainBatchSizeTokens: batch, trainingTokens: 1e9, threads, batchSlots: batchCount };
  const trainer = await HybridTrainer.create(config, { sample: batches });
  for (let slot = 0; slot < batchCount; slot++) {
    const target = trainer.slot(slot);
    for (let row = 0; row < batch; row++) {
      const from = (slot * batch + row) * dIn;
      target.set(batches.subarray(from, from + dIn), row * trainer.rowStride);
    }
  }
  return {
    name: "mistral-sae",
    version: "this project",
    async step(slot) {
      const cpu = process.cpuUsage();
      const wall = performance.now();
      const { loss } = await trainer.step(slot);
      const wallMs = performance.now() - wall;
      const { user, system } = process.cpuUsage(cpu);
      return { wallMs, cpuMs: (user + system) / 1000, loss };
    },
    [Symbol.asyncDispose]: () => trainer.close(),
  };
}
