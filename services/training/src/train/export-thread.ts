import { workerData } from "node:worker_threads";
import { HybridTrainer, restoreCheckpoint, type TrainerConfig } from "@mistral-sae/sae";
import { serveStage } from "../threads/stage-thread.ts";
import { writeTrained } from "./write-trained.ts";

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
  await using trainer = await HybridTrainer.create({ ...config, threads: 1 }, { restored: true });
  await restoreCheckpoint(checkpoint, trainer);
  return await writeTrained(saeFolder, await trainer.weights(metadata));
});
