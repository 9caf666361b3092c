import type { ResolvedTrainerConfig, TrainerConfig } from "./config.ts";
import { HybridTrainer } from "./hybrid-trainer.ts";
import type { TrainerInit } from "./initialise.ts";
import { requireTrainingMemory } from "./layout.ts";
import { requireLoopMemory } from "./loop/loop-layout.ts";
import { requireLoop } from "./loop/require-loop.ts";
import { type LoopProvider, LoopTrainer } from "./loop/loop-trainer.ts";
import type { ThreadedTrainer } from "./threaded-trainer.ts";

/** What a training computes on. */
export type TrainingProvider = LoopProvider;

export const trainingProviders = ["cpu", "cuda"] as const satisfies readonly TrainingProvider[];

/** Refuses a configuration whose training would not fit, or cannot be trained on the provider, long before it starts. Throws InputError with the numbers. */
export function requireTrainable(config: ResolvedTrainerConfig, provider: TrainingProvider = "cpu"): void {
  if (provider === "cpu") return requireTrainingMemory(config);
  requireLoop(config);
  requireLoopMemory(config);
}

/** Batches that wait for one run of the loop, where a configuration names no number: weights cross to the device and back once a run. */
const loopSlots = 64;

/** Opens the trainer for a provider: HybridTrainer on the CPU, LoopTrainer on CUDA. Throws InputError as their `create` does. */
export async function openTrainer(config: TrainerConfig, init: TrainerInit = {}, provider: TrainingProvider = "cpu"): Promise<ThreadedTrainer> {
  return provider === "cpu" ? await HybridTrainer.create(config, init) : await LoopTrainer.create({ ...config, batchSlots: config.batchSlots ?? loopSlots }, init, provider);
}
