import { resolveTrainerConfig, type TrainerConfig } from "./config.ts";
import type { TrainerInit } from "./initialise.ts";
import { startTrainerThread, ThreadedTrainer } from "./threaded-trainer.ts";

/** The trainer for CPUs: onnxruntime for the dense product, WASM SIMD kernels for the rest, on threads around one shared memory. */
export class HybridTrainer extends ThreadedTrainer {
  /**
   * Starts the threads with initial weights. Throws InputError for a configuration, a sample or weights that cannot be trained,
   * and, before anything is allocated, when the training would not fit in memory.
   */
  static async create(config: TrainerConfig, init: TrainerInit = {}): Promise<HybridTrainer> {
    return new HybridTrainer(await startTrainerThread(resolveTrainerConfig(config), init, { kind: "hybrid" }));
  }
}
