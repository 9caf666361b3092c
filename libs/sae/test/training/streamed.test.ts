import { describe, expect, it } from "vitest";
import { resolveTrainerConfig, type TrainerConfig } from "../../src/training/config.ts";
import { TrainingEngine } from "../../src/training/engine.ts";
import { initialise } from "../../src/training/initialise.ts";
import { compileKernels } from "../../src/training/kernels.ts";
import { planLayout } from "../../src/training/layout.ts";
import { TrainerMemory } from "../../src/training/trainer-memory.ts";
import type { TrainerMetrics } from "../../src/training/trainer-port.ts";
import { mixtureRows } from "./data.ts";

const [d, rows, steps] = [26, 64, 12];
const base: TrainerConfig = { dIn: d, dSae: 160, k: 4, kAux: 12, deadFeatureWindowTokens: 150, lr: 2e-3, gradClipNorm: 0.02, trainBatchSizeTokens: rows, trainingTokens: rows * steps, threads: 2, seed: 11 };
const data = mixtureRows(rows * steps, d, 21);

/** Trains in a memory that may address so many bytes. */
async function train(given: TrainerConfig, addressable?: number): Promise<{ readonly memory: TrainerMemory; readonly metrics: readonly TrainerMetrics[] }> {
  const config = resolveTrainerConfig(given);
  const memory = TrainerMemory.allocate(planLayout(config, addressable), compileKernels());
  initialise(memory, config, { sample: data });
  await using engine = await TrainingEngine.start(config, memory);
  const metrics: TrainerMetrics[] = [];
  const stride = memory.layout.stride / 4;
  for (let step = 0; step < steps; step++) {
    for (let row = 0; row < rows; row++) memory.slot(0).set(data.subarray((step * rows + row) * d, (step * rows + row + 1) * d), row * stride);
    metrics.push(await engine.step(0));
  }
  return { memory, metrics };
}

describe("a training without room for its gradients", () => {
  it.each(["adam", "signum_schedule_free"] as const)("gives the bits of one that stores them, with %s", async (optimizer) => {
    const stored = await train({ ...base, optimizer });
    const streamed = await train({ ...base, optimizer }, 1);
    expect([stored.memory.layout.storesGradients, streamed.memory.layout.storesGradients]).toEqual([true, false]);
    expect(streamed.memory.layout.bytes).toBeLessThan(stored.memory.layout.bytes);
    expect(streamed.metrics).toEqual(stored.metrics);
    expect(stored.metrics.some(({ numDead }) => numDead > 0) && stored.metrics.some(({ gradNorm }) => gradNorm > 0.02)).toBe(true);
    for (const region of ["wEnc", "wDec", "mEnc", "vEnc", "mDec", "vDec"] as const) expect(streamed.memory.matrix(region), region).toEqual(stored.memory.matrix(region));
    expect(streamed.memory.vector("bDec")).toEqual(stored.memory.vector("bDec"));
  });

  it("is not one whose decoder's norms run over its latents", () => {
    expect(planLayout(resolveTrainerConfig({ ...base, formulation: "seed_compat" }), 1).storesGradients).toBe(true);
  });

  it("has room for d_in 4096 and d_sae 32768 in one memory, with rows of 256", () => {
    const layout = planLayout(resolveTrainerConfig({ dIn: 4096, dSae: 32_768, k: 64, trainBatchSizeTokens: 256, trainingTokens: 1e9, threads: 2 }));
    expect(layout).toMatchObject({ storesGradients: false });
    expect(layout.bytes).toBeLessThan(2 ** 32);
  });
});
