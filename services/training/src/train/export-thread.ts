import { workerData } from "node:worker_threads";
import { openTrainer, restoreCheckpoint, type TrainerConfig, type TrainingProvider } from "@mistral-sae/sae";
import { serveStage } from "../threads/stage-thread.ts";
import { writeTrained } from "./write-trained.ts";

/** What the exporting thread is told. */
export interface ExportTask {
  readonly config: TrainerConfig;
  /** The trainer that wrote the checkpoint: another one may not hold so large an SAE. */
  readonly provider: TrainingProvider;
  /** Folder of the checkpoint. */
  readonly checkpoint: string;
  readonly saeFolder: string;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface ExportedWeights {
  readonly weightsSha256: string;
}

await serveStage<ExportedWeights>(async () => {
  const { config, provider, checkpoint, saeFolder, metadata } = workerData as ExportTask;
  await using trainer = await openTrainer({ ...config, threads: 1 }, { restored: true }, provider);
  await restoreCheckpoint(checkpoint, trainer);
  return await writeTrained(saeFolder, await trainer.weights(metadata));
});
