import type { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName, type JobEngine } from "@mistral-sae/jobs";
import { failedPrecondition, nextPageToken, pageStart, type Handlers } from "@mistral-sae/rpc";
import type { DiskSpace } from "../activations/disk-space.ts";
import type { DataFolder } from "../jobs/paths.ts";
import { RunRows } from "../jobs/run-rows.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import { runMessage, runName } from "../runs/run-message.ts";
import type { RunMaker } from "../runs/run-maker.ts";
import { draftOf, type RunFacts, type RunStore } from "../runs/run-store.ts";
import type { Runs } from "../runs/runs.ts";
import type { SweepMaker } from "../sweeps/sweep-maker.ts";
import type { Sweeps } from "../sweeps/sweeps.ts";
import { activationSetHandlers } from "./activation-set-handlers.ts";
import { checkpointHandlers } from "./checkpoint-handlers.ts";
import { evaluateHandlers } from "./evaluate-handlers.ts";
import { harvestHandlers } from "./harvest-handlers.ts";
import { probeHandlers } from "./probe-handlers.ts";
import { sweepHandlers } from "./sweep-handlers.ts";
import { watchRun } from "./watch-run.ts";

/** What the handlers work with. */
export interface TrainingParts {
  readonly store: RunStore;
  readonly engine: JobEngine;
  readonly maker: RunMaker;
  readonly runs: Runs;
  readonly sweeps: Sweeps;
  readonly sweepMaker: SweepMaker;
  readonly folder: DataFolder;
  /** Bytes of an activation shard's rows, about. */
  readonly shardBytes: number;
  /** Where activations are stored. */
  readonly disk: DiskSpace;
  /** Where a model is served, for one request. */
  readonly peerOf: (model: string, signal: AbortSignal) => InferencePeer;
}

/** TrainingService: runs are rows of the catalogue, and each is worked on by the operation of the same id. */
export function trainingHandlers(parts: TrainingParts): Handlers<typeof TrainingService> {
  const { store, engine, maker, runs } = parts;
  return {
    createTrainingRun: async (request, { signal }) => {
      const asked = await maker.ask(request, signal);
      if (asked.kind === "known") return { trainingRun: await runs.retryFailed(asked.run, request.validateOnly) };
      await requireDisk(asked.facts, parts);
      if (request.validateOnly) return { trainingRun: runMessage(draftOf(asked.facts), undefined, undefined) };
      return { trainingRun: runs.start(asked.facts, request.requestId) };
    },
    getTrainingRun: async ({ name }) => await Promise.resolve({ trainingRun: runs.message(runs.row(name)) }),
    listTrainingRuns: async (request) => {
      const { size, after } = pageStart(request, "training-runs");
      const rows = store.page(size + 1, after === undefined ? undefined : Number(after));
      const page = rows.slice(0, size);
      const last = page.at(-1);
      const nextToken = rows.length > size && last !== undefined ? nextPageToken(String(last.seq), "training-runs") : "";
      return await Promise.resolve({ trainingRuns: page.map((row) => runs.message(row)), nextPageToken: nextToken });
    },
    watchTrainingRun: ({ name, afterStep }, { signal }) => watchRun(runs, store, engine, runs.row(name).id, afterStep, signal),
    pauseTrainingRun: async ({ name }) => {
      const run = runs.unfinished(name);
      runs.requireBegun(run);
      engine.pause(operationName("training", run.id));
      return await Promise.resolve({ trainingRun: runs.message(run) });
    },
    resumeTrainingRun: async ({ name }) => {
      const run = runs.row(name);
      if (run.stopped) throw failedPrecondition("RUN_STOPPED", `${runName(run.id)} was stopped for good: make a new run`);
      runs.requireBegun(run);
      await engine.resume(operationName("training", run.id));
      return { trainingRun: runs.message(run) };
    },
    stopTrainingRun: async ({ name }) => {
      const run = runs.unfinished(name);
      runs.stop(run);
      return await Promise.resolve({ trainingRun: runs.message(run) });
    },
    ...checkpointHandlers(parts, (name) => runs.row(name)),
    ...evaluateHandlers(parts),
    ...harvestHandlers(parts),
    ...activationSetHandlers(parts),
    ...probeHandlers(parts),
    ...sweepHandlers(parts),
  };
}

/** @throws RpcError RESOURCE_EXHAUSTED when the rows that a run harvests cannot be stored. */
async function requireDisk(facts: RunFacts, { folder, shardBytes, disk }: TrainingParts): Promise<void> {
  if (facts.config.activations !== "") return;
  await disk.requireFit(new RunRows(draftOf(facts), folder, shardBytes).plan(), Number(facts.config.activationDiskBytes));
}
