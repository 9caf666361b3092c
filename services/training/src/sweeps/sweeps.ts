import { SweepState, type Sweep } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { TrainingRunState } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName, type JobEngine } from "@mistral-sae/jobs";
import { alreadyExists, failedPrecondition, notFound, parseName } from "@mistral-sae/rpc";
import { runMessage } from "../runs/run-message.ts";
import { draftOf, type RunFacts, type RunRow, type RunStore } from "../runs/run-store.ts";
import type { Runs } from "../runs/runs.ts";
import { sharedHarvests } from "./harvests.ts";
import { SWEEP_KIND } from "./sweep-job.ts";
import { sweepMessage, sweepName } from "./sweep-message.ts";
import type { SweepFacts, SweepRow, SweepStore } from "./sweep-store.ts";

/** Sweeps with their runs and operations. */
export class Sweeps {
  readonly store: SweepStore;
  readonly #runStore: RunStore;
  readonly #runs: Runs;
  readonly #engine: JobEngine;

  constructor(store: SweepStore, runStore: RunStore, runs: Runs, engine: JobEngine) {
    this.store = store;
    this.#runStore = runStore;
    this.#runs = runs;
    this.#engine = engine;
  }

  /** @throws RpcError NOT_FOUND. */
  row(name: string): SweepRow {
    const { sweep } = parseName("sweeps/{sweep}", name, "name");
    const row = this.store.byId(sweep);
    if (row === undefined) throw notFound(name);
    return row;
  }

  message({ id }: SweepRow): Sweep {
    const sweep = this.row(sweepName(id));
    const rows = this.#runStore.ofSweep(id);
    return sweepMessage(sweep, rows.map((run) => this.#runs.message(run)), this.#runs.operation(id), passes(rows));
  }

  /** The sweep that would be started. */
  draft(facts: SweepFacts, runs: readonly RunFacts[]): Sweep {
    const now = Date.now();
    const rows = runs.map((run) => draftOf(run, facts.id));
    const sweep: SweepRow = { ...facts, seq: 0, requestId: undefined, stopped: false, createMs: now, updateMs: now };
    const message = sweepMessage(sweep, rows.map((run) => runMessage(run, undefined, undefined)), undefined, passes(rows));
    return { ...message, state: SweepState.UNSPECIFIED };
  }

  start(facts: SweepFacts, runs: readonly RunFacts[]): Sweep {
    const taken = [facts.id, ...runs.map(({ id }) => id)].find((id) => this.#runs.operation(id) !== undefined);
    if (taken !== undefined) throw alreadyExists(operationName("training", taken), "is other work: give another sweep_id");
    this.#runStore.transaction(() => {
      this.store.insert(facts);
      for (const run of runs) this.#runStore.insert(run, undefined, facts.id);
    });
    const row = this.row(sweepName(facts.id));
    this.#begin(row);
    return this.message(row);
  }

  /** Asking again for a sweep that failed takes it up where it failed. */
  async retryFailed(sweep: SweepRow, validateOnly: boolean): Promise<Sweep> {
    const failed = this.message(sweep).state === SweepState.FAILED;
    if (failed && !validateOnly) await this.#engine.resume(operationName("training", sweep.id));
    return this.message(sweep);
  }

  /** Ends a sweep and its unfinished runs for good. @throws RpcError FAILED_PRECONDITION when it has ended. */
  stop(name: string): Sweep {
    const row = this.row(name);
    const { state } = this.message(row);
    if (row.stopped || state === SweepState.SUCCEEDED) throw failedPrecondition("SWEEP_ENDED", `${name} has ended: it ${row.stopped ? "was stopped" : "has succeeded"}`);
    this.store.stop(row.id);
    if (this.#runs.operation(row.id) !== undefined) this.#engine.cancel(operationName("training", row.id));
    for (const run of this.#runStore.ofSweep(row.id)) if (this.#runs.message(run).state !== TrainingRunState.SUCCEEDED) this.#runs.stop(run);
    return this.message(row);
  }

  /** Starts the work of sweeps that a crash left without: the catalogue is written first. */
  startForgotten(): void {
    for (const row of this.store.page(Number.MAX_SAFE_INTEGER)) {
      const begun = this.#runs.operation(row.id) !== undefined;
      const ended = row.stopped || this.#runStore.ofSweep(row.id).every(({ weightsSha256 }) => weightsSha256 !== "");
      if (!begun && !ended) this.#begin(row);
    }
  }

  #begin({ id, asked }: SweepRow): void {
    this.#engine.start(SWEEP_KIND, asked, { id });
  }
}

/** A run that streams reads the model by itself. */
function passes(runs: readonly RunRow[]): number {
  return sharedHarvests(runs).length + runs.filter(({ config }) => config.streamActivations).length;
}
