import { requireProvider } from "@mistral-sae/model";
import { resolveTrainerConfig, type TrainerConfig } from "../config.ts";
import type { TrainerInit } from "../initialise.ts";
import { startTrainerThread, ThreadedTrainer } from "../threaded-trainer.ts";
import { requireLoop } from "./require-loop.ts";

/** Where the loop runs. */
export type LoopProvider = "cpu" | "cuda";

/**
 * The trainer for a GPU: the whole step, optimiser included, is one ONNX graph, and as many steps as wait run as one Loop, with the
 * weights as loop-carried values; they cross to the device and back once a run, so ask for many steps before awaiting one
 * (`batchSlots`). Its states are those of HybridTrainer: a run may go on on either. Held to the same goldens on the CPU; not yet run on a GPU. The weights may take up to 16 GiB, 4096 × 131072 with Adam among them.
 */
export class LoopTrainer extends ThreadedTrainer {
  /**
   * Throws InputError for what the loop cannot train, for a provider that cannot run here, naming what is missing, and as
   * HybridTrainer.create does.
   */
  static async create(config: TrainerConfig, init: TrainerInit = {}, provider: LoopProvider = "cuda"): Promise<LoopTrainer> {
    const resolved = resolveTrainerConfig(config);
    requireLoop(resolved);
    await requireProvider(provider);
    return new LoopTrainer(await startTrainerThread(resolved, init, { kind: "loop", provider }));
  }
}
