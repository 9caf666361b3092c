import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { CreateSweepRequestSchema, SweepSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { defineJob, operationName, type Job, type JobContext, type JobEngine } from "@mistral-sae/jobs";
import { failedPrecondition, notFound } from "@mistral-sae/rpc";
import { harvestStage } from "../jobs/harvest-stage.ts";
import { stageListener } from "../jobs/stage-listener.ts";
import { trainJob, type JobDependencies } from "../jobs/train-job.ts";
import { runName, Stage } from "../runs/run-message.ts";
import type { RunRow } from "../runs/run-store.ts";
import { inputOf, type Runs } from "../runs/runs.ts";
import { harvestPlan, sharedHarvests } from "./harvests.ts";
import { sweepName } from "./sweep-message.ts";
import type { Sweeps } from "./sweeps.ts";

export const SWEEP_KIND = "sweep-saes";
const SWEEP_RUN_KIND = "train-sae-of-sweep";

/** What sweeping works with beside training; known once the engine is open. */
export interface SweepParts {
  readonly engine: JobEngine;
  readonly runs: Runs;
  readonly sweeps: Sweeps;
}

/** A run of a sweep: the sweep holds the slot for it. */
export function sweepRunJob(dependencies: JobDependencies): Job {
  return { ...trainJob(dependencies), kind: SWEEP_RUN_KIND, takesSlot: false };
}

/** A sweep as a job: it harvests what its runs need in common, then starts a few of them at a time and waits for each. */
export function sweepJob(dependencies: JobDependencies, parts: () => SweepParts): Job {
  return defineJob({
    kind: SWEEP_KIND,
    input: CreateSweepRequestSchema,
    output: SweepSchema,
    plan: async () => await Promise.resolve(["runs"]),
    run: async (_shard, ctx) => {
      const { sweeps } = parts();
      if (sweeps.row(sweepName(ctx.id)).stopped) throw failedPrecondition("SWEEP_STOPPED", `${sweepName(ctx.id)} was stopped for good: make a new sweep`);
      const runs = dependencies.store.ofSweep(ctx.id);
      await harvestTogether(runs, dependencies, ctx);
      await new SweepRuns(runs, ctx, parts()).work(Math.max(1, ctx.input.parallelRuns));
      return null;
    },
    reduce: async (_input, _results, ctx) => {
      const { sweeps } = parts();
      const sweep = sweeps.store.byId(ctx.id);
      if (sweep === undefined) throw notFound(sweepName(ctx.id));
      return await Promise.resolve(sweeps.message(sweep));
    },
  });
}

/** One pass of the model for all hooks, so that every run then finds its rows. */
async function harvestTogether(runs: readonly RunRow[], { folder, shardBytes, inference, patienceMs, disk }: JobDependencies, ctx: JobContext): Promise<void> {
  ctx.progress({ stage: Stage.harvest, doneUnits: 0, unit: "tokens" });
  const unfinished = runs.filter(({ stopped, weightsSha256 }) => !stopped && weightsSha256 === "");
  for (const group of sharedHarvests(unfinished)) {
    const plan = harvestPlan(group, folder, shardBytes);
    await disk.makeRoom(plan, 0);
    await harvestStage(plan, { address: inference, model: group.model.name, patienceMs }, stageListener(ctx));
  }
}

/** The runs of one sweep while it works. */
class SweepRuns {
  readonly #runs: readonly RunRow[];
  readonly #ctx: JobContext;
  readonly #parts: SweepParts;
  /** Ends the waits of the others when one of them cannot go on. */
  readonly #stop = new AbortController();
  #ended = 0;

  constructor(runs: readonly RunRow[], ctx: JobContext, parts: SweepParts) {
    this.#runs = runs;
    this.#ctx = ctx;
    this.#parts = parts;
  }

  /** Works until every run has ended. @throws RpcError FAILED_PRECONDITION when some have not succeeded. */
  async work(parallel: number): Promise<void> {
    const { state, signal } = this.#ctx;
    // Runs that failed are tried again only by a sweep that ended with them and is resumed.
    const again = state.get("ended") === true;
    state.delete("ended");
    this.#report();
    const queue = this.#runs.values();
    try {
      await Promise.all(Array.from({ length: parallel }, async () => {
        for (const run of queue) {
          await this.#one(run, again);
          this.#ended += 1;
          this.#report();
        }
      }));
    } catch (error) {
      this.#stop.abort(error);
      if (signal.aborted) this.#hold();
      throw error;
    }
    const failed = this.#runs.filter(({ id }) => this.#parts.runs.operation(id)?.state !== OperationState.SUCCEEDED);
    if (failed.length === 0) return;
    state.set("ended", true);
    const names = failed.slice(0, 3).map(({ id }) => runName(id)).join(", ");
    const more = failed.length > 3 ? ` and ${failed.length - 3} more` : "";
    throw failedPrecondition("RUNS_NOT_SUCCEEDED", `${failed.length} of ${this.#runs.length} runs did not succeed: ${names}${more}; resume the sweep to try them again`);
  }

  async #one(run: RunRow, again: boolean): Promise<void> {
    const { engine, runs } = this.#parts;
    const name = operationName("training", run.id);
    const known = runs.operation(run.id);
    if (runs.row(runName(run.id)).stopped) return;
    if (known === undefined) engine.start(SWEEP_RUN_KIND, inputOf(run), { id: run.id });
    else if (this.#held().includes(run.id) || (again && known.done && known.state !== OperationState.SUCCEEDED)) await engine.resume(name);
    await engine.wait(name, { signal: AbortSignal.any([this.#ctx.signal, this.#stop.signal]) });
  }

  /** A sweep that is cancelled or paused pauses the runs under way, and remembers which: others may be paused for themselves. */
  #hold(): void {
    const { engine, runs } = this.#parts;
    const open = this.#runs.filter(({ id }) => {
      const state = runs.operation(id)?.state;
      return state === OperationState.RUNNING || state === OperationState.QUEUED;
    });
    try {
      for (const { id } of open) engine.pause(operationName("training", id));
      this.#ctx.state.set("held", open.map(({ id }) => id));
    } catch {
      // The engine is closing: it leaves runs and sweep as they are, to be taken up by the next process.
    }
  }

  #held(): readonly string[] {
    return (this.#ctx.state.get("held") as readonly string[] | undefined) ?? [];
  }

  #report(): void {
    this.#ctx.progress({ stage: Stage.train, doneUnits: this.#ended, totalUnits: this.#runs.length, unit: "runs" });
  }
}
