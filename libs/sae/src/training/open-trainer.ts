import type { TrainerConfig } from "./config.ts";
import { HybridTrainer } from "./hybrid-trainer.ts";
import type { TrainerInit } from "./initialise.ts";
import { type LoopProvider, LoopTrainer } from "./loop/loop-trainer.ts";
import type { ThreadedTrainer } from "./threaded-trainer.ts";

/** What a training computes on. */
export type TrainingProvider = LoopProvider;

export const trainingProviders = ["cpu", "cuda"] as const satisfies readonly TrainingProvider[];

/** Opens the trainer for a provider: HybridTrainer on the CPU, LoopTrainer on CUDA. Throws InputError as their `create` does. */
export async function openTrainer(config: TrainerConfig, init: TrainerInit = {}, provider: TrainingProvider = "cpu"): Promise<ThreadedTrainer> {
  return provider === "cpu" ? await HybridTrainer.create(config, init) : await LoopTrainer.create(config, init, provider);
}
