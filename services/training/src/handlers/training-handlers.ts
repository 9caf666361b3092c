import { laterHandlers } from "./later-handlers.ts";
import { create } from "@bufbuild/protobuf";
import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { CreateTrainingRunRequestSchema, TrainingRunState, type TrainingRun, type TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName, type JobEngine } from "@mistral-sae/jobs";
import { Code, failedPrecondition, nextPageToken, notFound, pageStart, parseName, toRpcError, type Handlers } from "@mistral-sae/rpc";
import { TRAIN_KIND } from "../jobs/train-job.ts";
import type { DataFolder } from "../jobs/paths.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import { runMessage, runName } from "../runs/run-message.ts";
import type { RunMaker } from "../runs/run-maker.ts";
import type { RunFacts, RunRow, RunStore } from "../runs/run-store.ts";
import { checkpointHandlers } from "./checkpoint-handlers.ts";
import { evaluateHandlers } from "./evaluate-handlers.ts";
import { harvestHandlers } from "./harvest-handlers.ts";
import { watchRun } from "./watch-run.ts";

/** What the handlers work with. */
export interface TrainingParts {
  readonly store: RunStore;
  readonly engine: JobEngine;
  readonly maker: RunMaker;
  readonly folder: DataFolder;
  /** Where a model is served, for one request. */
  readonly peerOf: (model: string, signal: AbortSignal) => InferencePeer;
}

/** TrainingService: runs are rows of the catalogue, and each is worked on by the operation of the same id. */
export function trainingHandlers(parts: TrainingParts): Handlers<typeof TrainingService> {
  const { store, engine, maker } = parts;
  const runs = new Runs(store, engine);
  return {
    ...laterHandlers,
    createTrainingRun: async (request, { signal }) => {
      const asked = await maker.ask(request, signal);
      if (asked.kind === "known") return { trainingRun: await runs.retryFailed(asked.run, request.validateOnly) };
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
      engine.pause(operationName("training", run.id));
      return await Promise.resolve({ trainingRun: runs.message(run) });
    },
    resumeTrainingRun: async ({ name }) => {
      const run = runs.row(name);
      if (run.stopped) throw failedPrecondition("RUN_STOPPED", `${runName(run.id)} was stopped for good: make a new run`);
      await engine.resume(operationName("training", run.id));
      return { trainingRun: runs.message(run) };
    },
    stopTrainingRun: async ({ name }) => {
      const run = runs.unfinished(name);
      store.update(run.id, { stopped: true });
      engine.cancel(operationName("training", run.id));
      return await Promise.resolve({ trainingRun: runs.message(runs.row(name)) });
    },
    ...checkpointHandlers(parts, (name) => runs.row(name)),
    ...evaluateHandlers(parts),
    ...harvestHandlers(parts),
  };
}

/** Runs with their operations. */
export class Runs {
  readonly #store: RunStore;
  readonly #engine: JobEngine;

  constructor(store: RunStore, engine: JobEngine) {
    this.#store = store;
    this.#engine = engine;
  }

  /** @throws RpcError NOT_FOUND. */
  row(name: string): RunRow {
    const { run } = parseName("trainingRuns/{run}", name, "name");
    const row = this.#store.byId(run);
    if (row === undefined) throw notFound(name);
    return row;
  }

  message(run: RunRow): TrainingRun {
    return runMessage(this.#store.byId(run.id) ?? run, this.#operation(run.id), this.#store.lastMetrics(run.id));
  }

  /** @throws RpcError FAILED_PRECONDITION when the run has ended. */
  unfinished(name: string): RunRow {
    const row = this.row(name);
    const { state } = this.message(row);
    if (state === TrainingRunState.SUCCEEDED) throw failedPrecondition("RUN_ENDED", `${name} has ended: it has succeeded`);
    if (state === TrainingRunState.STOPPED) throw failedPrecondition("RUN_ENDED", `${name} has ended: it was stopped`);
    return row;
  }

  start(facts: RunFacts, requestId: string): TrainingRun {
    this.#store.insert(facts, requestId === "" ? undefined : requestId);
    const row = this.row(runName(facts.id));
    this.#engine.start(TRAIN_KIND, inputOf(row), { id: row.id });
    return this.message(row);
  }

  /** Asking again for a run that failed takes it up where it failed. */
  async retryFailed(run: RunRow, validateOnly: boolean): Promise<TrainingRun> {
    const failed = this.message(run).state === TrainingRunState.FAILED;
    if (failed && !validateOnly) await this.#engine.resume(operationName("training", run.id));
    return this.message(run);
  }

  /** Starts the work of runs that a crash left without: the catalogue is written first. */
  startForgotten(): void {
    for (const row of this.#store.page(Number.MAX_SAFE_INTEGER)) {
      const ended = row.stopped || row.weightsSha256 !== "";
      if (!ended && this.#operation(row.id) === undefined) this.#engine.start(TRAIN_KIND, inputOf(row), { id: row.id });
    }
  }

  #operation(id: string): Operation | undefined {
    try {
      return this.#engine.get(operationName("training", id));
    } catch (error) {
      if (toRpcError(error).code === Code.NotFound) return undefined;
      throw error;
    }
  }
}

function inputOf(row: RunRow): ReturnType<typeof create<typeof CreateTrainingRunRequestSchema>> {
  return create(CreateTrainingRunRequestSchema, { trainingRunId: row.id, config: row.config });
}

/** The row that a run would have. */
function draftOf(facts: RunFacts): RunRow {
  const now = Date.now();
  return { ...facts, seq: 0, requestId: undefined, tokensHarvested: 0, tokensToHarvest: 0, evaluation: undefined, saeUri: "", weightsSha256: "", stopped: false, createMs: now, updateMs: now };
}
