import { setTimeout as sleep } from "node:timers/promises";
import { toBinary } from "@bufbuild/protobuf";
import { StatusSchema } from "@mistral-sae/contracts/google/rpc/status";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { cancelled, failedPrecondition, toRpcError, toStatus } from "@mistral-sae/rpc";
import type { Job } from "../definition.ts";
import { operationName } from "../operation-name.ts";
import { type LedgerRow, StopIntent } from "./ledger-row.ts";
import type { Ledger } from "./ledger.ts";
import { ProgressTracker, type SavedProgress } from "./progress-tracker.ts";
import type { RetryPolicy } from "./retry.ts";
import { Runner } from "./runner.ts";

/** What a scheduler needs. */
export interface SchedulerOptions {
  readonly service: string;
  readonly ledger: Ledger;
  readonly jobs: ReadonlyMap<string, Job>;
  /** Operations that run at a time. */
  readonly slots: number;
  readonly retry: RetryPolicy;
  /** Called with the operation's name after each change that a watcher should see. */
  readonly changed: (name: string) => void;
}

/** An operation at work in this process. */
interface Running {
  readonly takesSlot: boolean;
  readonly abort: AbortController;
  readonly tracker: ProgressTracker;
  readonly settled: Promise<void>;
}

/** An operation that waits for its turn. */
interface Queued {
  readonly seq: number;
  readonly takesSlot: boolean;
}

/** How often running progress goes to the disk. */
const saveProgressEveryMs = 1000;

/** Runs queued operations, a few at a time, and writes how each of them ends. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #ledger: Ledger;
  readonly #queue: Queued[] = [];
  readonly #running = new Map<number, Running>();
  #closing = false;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#ledger = options.ledger;
  }

  /** Whether the operation is queued or running here. */
  has(seq: number): boolean {
    return this.#running.has(seq) || this.#queue.some((queued) => queued.seq === seq);
  }

  /** Progress of an operation: live while it runs here, else what the ledger has. */
  trackerOf(row: LedgerRow): ProgressTracker {
    return this.#running.get(row.seq)?.tracker ?? savedTracker(row);
  }

  enqueue(seq: number): void {
    const kind = this.#ledger.bySeq(seq)?.kind ?? "";
    this.#queue.push({ seq, takesSlot: this.#options.jobs.get(kind)?.takesSlot ?? true });
    this.#fillSlots();
  }

  /** Stops an operation that is not done; one that runs ends a little later. */
  stop(row: LedgerRow, stop: StopIntent): void {
    const running = this.#running.get(row.seq);
    if (running !== undefined) {
      this.#ledger.requestStop(row.seq, stop);
      running.abort.abort(cancelled("the operation was stopped"));
      return;
    }
    const at = this.#queue.findIndex(({ seq }) => seq === row.seq);
    if (at >= 0) this.#queue.splice(at, 1);
    this.finishStopped({ ...row, stop });
  }

  /** Resolves once the operation does not run here any more. */
  async settled(seq: number): Promise<void> {
    await this.#running.get(seq)?.settled;
  }

  /** Writes the end of an operation whose stop was asked for. */
  finishStopped(row: LedgerRow): void {
    const progress = JSON.stringify(this.trackerOf(row).save());
    if (row.stop === StopIntent.PAUSE) {
      this.#ledger.finish(row.seq, OperationState.PAUSED, progress, {});
    } else {
      const error = toStatus(cancelled("the operation was cancelled; it can be resumed"));
      this.#ledger.finish(row.seq, OperationState.CANCELLED, progress, { error: toBinary(StatusSchema, error) });
    }
    this.#options.changed(this.#name(row));
  }

  /** Aborts all work with `reason` and waits for its end, at most `graceMs`; the ledger keeps it as running. */
  async close(reason: unknown, graceMs: number): Promise<void> {
    this.#closing = true;
    this.#queue.length = 0;
    const running = [...this.#running.values()];
    for (const { abort } of running) abort.abort(reason);
    const timer = new AbortController();
    const grace = sleep(graceMs, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([Promise.all(running.map(({ settled }) => settled)), grace]);
    timer.abort();
  }

  /** Starts what the queue holds, in its order, as far as slots are free; what takes none starts at once. */
  #fillSlots(): void {
    for (const queued of this.#queue.slice()) {
      if (this.#closing) return;
      if (queued.takesSlot && this.#slotsTaken() >= this.#options.slots) continue;
      this.#queue.splice(this.#queue.indexOf(queued), 1);
      this.#begin(queued);
    }
  }

  #slotsTaken(): number {
    let taken = 0;
    for (const running of this.#running.values()) if (running.takesSlot) taken += 1;
    return taken;
  }

  #begin({ seq, takesSlot }: Queued): void {
    this.#ledger.begin(seq);
    const row = this.#ledger.bySeq(seq);
    if (row === undefined) return;
    const abort = new AbortController();
    const tracker = savedTracker(row);
    const { promise: settled, resolve } = Promise.withResolvers<void>();
    this.#running.set(seq, { takesSlot, abort, tracker, settled });
    void this.#work(row, abort.signal, tracker).then(() => {
      this.#running.delete(seq);
      this.#options.changed(this.#name(row));
      resolve();
      this.#fillSlots();
    });
  }

  async #work(row: LedgerRow, signal: AbortSignal, tracker: ProgressTracker): Promise<void> {
    // The caller of start() gets its answer before the job's own code runs.
    await Promise.resolve();
    try {
      const output = await this.#run(row, signal, tracker);
      tracker.finish();
      this.#ledger.finish(row.seq, OperationState.SUCCEEDED, JSON.stringify(tracker.save()), { output });
    } catch (error) {
      try {
        this.#finishUnfinished(row, tracker, error);
      } catch (fault) {
        // The ledger cannot be written (its disk is full): the operation stays RUNNING there, to be recovered later.
        process.emitWarning(`the end of ${this.#name(row)} could not be written: ${String(fault)}`);
      }
    }
  }

  async #run(row: LedgerRow, signal: AbortSignal, tracker: ProgressTracker): Promise<Uint8Array> {
    const name = this.#name(row);
    const job = this.#options.jobs.get(row.kind);
    if (job === undefined) throw failedPrecondition("JOB_UNKNOWN", `this version has no job of kind "${row.kind}"`);
    let savedMs = Date.now();
    const changed = (): void => {
      if (Date.now() - savedMs >= saveProgressEveryMs && !this.#ledger.closed) {
        savedMs = Date.now();
        this.#ledger.saveProgress(row.seq, JSON.stringify(tracker.save()));
      }
      this.#options.changed(name);
    };
    const { retry } = this.#options;
    return await new Runner(job, row, { ledger: this.#ledger, name, signal, tracker, retry, changed }).run();
  }

  /** Ends a run that gave no output: stopped, left for the next process, or failed. */
  #finishUnfinished(row: LedgerRow, tracker: ProgressTracker, error: unknown): void {
    if (this.#ledger.closed) return;
    const stop = this.#ledger.bySeq(row.seq)?.stop ?? StopIntent.NONE;
    if (stop !== StopIntent.NONE) {
      this.finishStopped({ ...row, stop });
    } else if (this.#closing) {
      this.#ledger.saveProgress(row.seq, JSON.stringify(tracker.save()));
    } else {
      const status = toBinary(StatusSchema, toStatus(toRpcError(error)));
      this.#ledger.finish(row.seq, OperationState.FAILED, JSON.stringify(tracker.save()), { error: status });
    }
  }

  #name(row: LedgerRow): string {
    return operationName(this.#options.service, row.id);
  }
}

function savedTracker(row: LedgerRow): ProgressTracker {
  return new ProgressTracker(JSON.parse(row.progress) as SavedProgress, Date.now);
}
