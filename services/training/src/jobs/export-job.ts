import { ExportCheckpointRequestSchema, ExportedSaeSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { defineJob, type Job } from "@mistral-sae/jobs";
import { notFound, parseName } from "@mistral-sae/rpc";
import { join } from "node:path";
import { metadataOf } from "../runs/run-metadata.ts";
import { trainerOptions } from "../runs/trainer-config.ts";
import { runStage } from "../threads/run-stage.ts";
import type { ExportedWeights, ExportTask } from "../train/export-thread.ts";
import { stageListener } from "./stage-listener.ts";
import type { JobDependencies } from "./train-job.ts";

export const EXPORT_KIND = "export-checkpoint";

/** Writes a checkpoint of a run as an SAELens folder. */
export function exportJob({ store, folder, provider }: JobDependencies): Job {
  return defineJob({
    kind: EXPORT_KIND,
    input: ExportCheckpointRequestSchema,
    output: ExportedSaeSchema,
    plan: async () => await Promise.resolve(["export"]),
    run: async (_shard, ctx) => {
      const { run: id, checkpoint } = parseName("trainingRuns/{run}/checkpoints/{checkpoint}", ctx.input.name, "name");
      const run = store.byId(id);
      if (run === undefined) throw notFound(ctx.input.name);
      const task: ExportTask = {
        config: trainerOptions(run.config, run.model),
        provider,
        checkpoint: join(folder.checkpoints(id), checkpoint),
        saeFolder: folder.exportedSae(id, checkpoint),
        metadata: metadataOf(run),
      };
      const { weightsSha256 } = await runStage<ExportedWeights>(new URL("../train/export-thread.ts", import.meta.url), task, stageListener(ctx));
      return { saeUri: task.saeFolder, weightsSha256 };
    },
    reduce: async (_input, [exported]) => await Promise.resolve(exported ?? {}),
  });
}
