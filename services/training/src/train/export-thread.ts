import { workerData } from "node:worker_threads";
import { HybridTrainer, restoreCheckpoint, writeSae, type TrainerConfig } from "@mistral-sae/sae";
import { serveStage } from "../threads/stage-thread.ts";

/** What the exporting thread is told. */
export interface ExportTask {
  readonly config: TrainerConfig;
  /** Folder of the checkpoint. */
  readonly checkpoint: string;
  readonly saeFolder: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface ExportedWeights {
  readonly weightsSha256: string;
}

await serveStage<ExportedWeights>(async () => {
  const { config, checkpoint, saeFolder, metadata } = workerData as ExportTask;
  // A trainer wants to measure its data before the first step; the checkpoint then replaces what it learnt.
  const sample = Float32Array.from({ length: 2 * config.dIn }, (_, at) => (at < config.dIn ? 1 : -1));
  await using trainer = await HybridTrainer.create({ ...config, threads: 1 }, { sample });
  await restoreCheckpoint(checkpoint, trainer);
  return await writeSae(saeFolder, await trainer.weights(metadata));
});
