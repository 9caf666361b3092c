import { create } from "@bufbuild/protobuf";
import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { CreateTrainingRunRequestSchema, TrainingRunState, type CreateTrainingRunRequest, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName, type JobEngine } from "@mistral-sae/jobs";
import { alreadyExists, Code, failedPrecondition, notFound, parseName, toRpcError } from "@mistral-sae/rpc";
import { TRAIN_KIND } from "../jobs/train-job.ts";
import { runMessage, runName } from "./run-message.ts";
import type { RunFacts, RunRow, RunStore } from "./run-store.ts";

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
    return runMessage(this.#store.byId(run.id) ?? run, this.operation(run.id), this.#store.lastMetrics(run.id));
  }

  /** @throws RpcError FAILED_PRECONDITION when the run has ended. */
  unfinished(name: string): RunRow {
    const row = this.row(name);
    const { state } = this.message(row);
    if (state === TrainingRunState.SUCCEEDED) throw failedPrecondition("RUN_ENDED", `${name} has ended: it has succeeded`);
    if (state === TrainingRunState.STOPPED) throw failedPrecondition("RUN_ENDED", `${name} has ended: it was stopped`);
    return row;
  }

  /** @throws RpcError FAILED_PRECONDITION when the run waits for its turn in a sweep. */
  requireBegun({ id, sweep }: RunRow): void {
    if (this.operation(id) === undefined) throw failedPrecondition("RUN_NOT_BEGUN", `${runName(id)} waits for its turn in sweeps/${sweep}: stop it, or wait`);
  }

  /** Ends a run for good. */
  stop({ id }: RunRow): void {
    this.#store.update(id, { stopped: true });
    if (this.operation(id) !== undefined) this.#engine.cancel(operationName("training", id));
  }

  start(facts: RunFacts, requestId: string): TrainingRun {
    // A sweep of this id.
    if (this.operation(facts.id) !== undefined) throw alreadyExists(operationName("training", facts.id), "is other work: give another training_run_id");
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
      // A sweep starts its runs itself.
      if (!ended && row.sweep === "" && this.operation(row.id) === undefined) this.#engine.start(TRAIN_KIND, inputOf(row), { id: row.id });
    }
  }

  /** The operation that works on a run; undefined before it begins. */
  operation(id: string): Operation | undefined {
    try {
      return this.#engine.get(operationName("training", id));
    } catch (error) {
      if (toRpcError(error).code === Code.NotFound) return undefined;
      throw error;
    }
  }
}

/** What a run's operation is started with. */
export function inputOf(row: RunRow): CreateTrainingRunRequest {
  return create(CreateTrainingRunRequestSchema, { trainingRunId: row.id, config: row.config });
}
