import { basename } from "node:path";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { stat } from "node:fs/promises";
import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { notFound, pageOf, parseName, type Handlers } from "@mistral-sae/rpc";
import { listCheckpoints } from "@mistral-sae/sae";
import { EXPORT_KIND } from "../jobs/export-job.ts";
import { runName } from "../runs/run-message.ts";
import type { RunRow } from "../runs/run-store.ts";
import type { TrainingParts } from "./training-handlers.ts";

type CheckpointHandlers = Pick<Handlers<typeof TrainingService>, "listCheckpoints" | "exportCheckpoint">;

export function checkpointHandlers({ engine, folder }: TrainingParts, rowOf: (name: string) => RunRow): CheckpointHandlers {
  return {
    listCheckpoints: async (request) => {
      const run = rowOf(request.parent);
      const found = await listCheckpoints(folder.checkpoints(run.id));
      const checkpoints = await Promise.all(
        found.map(async ({ step, bytes, sha256, folder: path }) => ({
          name: `${runName(run.id)}/checkpoints/${basename(path)}`,
          step: BigInt(step),
          sizeBytes: BigInt(bytes),
          digest: sha256,
          createTime: timestampFromMs(Math.round((await stat(path)).mtimeMs)),
        })),
      );
      const { rows, nextPageToken } = pageOf(checkpoints, request, ({ name }) => name, request.parent);
      return { checkpoints: [...rows], nextPageToken };
    },
    exportCheckpoint: async (request) => {
      const { run, checkpoint } = parseName("trainingRuns/{run}/checkpoints/{checkpoint}", request.name, "name");
      const row = rowOf(runName(run));
      const known = await listCheckpoints(folder.checkpoints(row.id));
      if (!known.some(({ folder: path }) => basename(path) === checkpoint)) throw notFound(request.name);
      return { operation: engine.start(EXPORT_KIND, request, { requestId: request.requestId }) };
    },
  };
}
