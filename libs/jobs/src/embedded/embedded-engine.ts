import { setTimeout as sleep } from "node:timers/promises";
import { create, equals, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { type Any, anyPack, AnySchema, anyUnpack } from "@bufbuild/protobuf/wkt";
import { StatusSchema } from "@mistral-sae/contracts/google/rpc/status";
import { type Operation, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import {
  alreadyExists,
  cancelled,
  Code,
  failedPrecondition,
  invalidArgument,
  nextPageToken,
  notFound,
  pageStart,
  requireId,
  RpcError,
  toRpcError,
  toStatus,
  unavailable,
} from "@mistral-sae/rpc";
import type { Job } from "../definition.ts";
import type { JobEngine, ListOptions, OperationPage, StartOptions } from "../job-engine.ts";
import { newId, operationId, operationName } from "../operation-name.ts";
import { ChangeSignal } from "./change-signal.ts";
import { LedgerLock } from "./ledger-lock.ts";
import { type LedgerRow, StopIntent } from "./ledger-row.ts";
import { Ledger } from "./ledger.ts";
import { isDone, operationMessage } from "./operation-message.ts";
import { noProgress, ProgressTracker, type SavedProgress } from "./progress-tracker.ts";
import { retryDefaults, type RetryPolicy } from "./retry.ts";
import { Runner } from "./runner.ts";

/** What an embedded engine needs. */
export interface EmbeddedEngineOptions {
  /** The service's name, second segment of its operations' names. */
  readonly service: string;
  /** Ledger file; its folder is made. */
  readonly path: string;
  readonly definitions: readonly Job[];
  /** Operations that run at a time; the others stay QUEUED. Default 4. */
  readonly operationsInParallel?: number;
  readonly retry?: Partial<RetryPolicy>;
}

/** How often running progress goes to the disk, and how often a watcher is told of it. */
const saveProgressEveryMs = 1000;
const watchEveryMs = 100;
/** Timers of node end here, about 24 days. */
const longestTimeoutMs = 2 ** 31 - 1;

/** An operation at work in this process. */
interface Running {
  readonly abort: AbortController;
  readonly tracker: ProgressTracker;
  readonly settled: Promise<void>;
}

/** JobEngine in one process over one SQLite file. */
export class EmbeddedEngine implements JobEngine {
  readonly #service: string;
  readonly #jobs: ReadonlyMap<string, Job>;
  readonly #lock: LedgerLock;
  readonly #ledger: Ledger;
  readonly #retry: RetryPolicy;
  readonly #slots: number;
  readonly #queue: number[] = [];
  readonly #running = new Map<number, Running>();
  readonly #changes = new ChangeSignal();
  readonly #closing = new AbortController();

  constructor(options: EmbeddedEngineOptions) {
    this.#service = options.service;
    this.#jobs = new Map(options.definitions.map((job) => [job.kind, job]));
    if (this.#jobs.size < options.definitions.length) throw new Error("two job definitions have the same kind");
    this.#retry = { ...retryDefaults, ...options.retry };
    this.#slots = options.operationsInParallel ?? 4;
    this.#lock = new LedgerLock(options.path);
    this.#ledger = new Ledger(options.path);
  }

  start(kind: string, input: Message, options: StartOptions = {}): Operation {
    this.#mustBeOpen();
    const job = this.#jobs.get(kind);
    if (job === undefined) throw invalidArgument("kind", `got "${kind}", wanted one of ${[...this.#jobs.keys()].join(", ")}`);
    if (input.$typeName !== job.input.typeName) {
      throw invalidArgument("input", `got a ${input.$typeName}, wanted a ${job.input.typeName}`);
    }
    const packed = anyPack(job.input, input);
    const requestId = options.requestId === undefined || options.requestId === "" ? undefined : options.requestId;
    const before = requestId === undefined ? undefined : this.#ledger.byRequestId(requestId);
    if (before !== undefined) {
      if (before.kind === kind && sameInput(job, before, packed)) return this.#message(before);
      throw new RpcError(
        Code.AlreadyExists,
        `request_id "${requestId}" has started ${operationName(this.#service, before.id)} with another request: use a new request_id`,
        { reason: "REQUEST_ID_REUSED", metadata: { operation: operationName(this.#service, before.id) } },
      );
    }
    const id = options.id === undefined ? newId(kind) : requireId("id", options.id);
    if (this.#ledger.byId(id) !== undefined) throw alreadyExists(operationName(this.#service, id));
    const row = this.#ledger.insert({
      id,
      kind,
      requestId,
      input: toBinary(AnySchema, packed),
      progress: JSON.stringify(noProgress),
    });
    this.#enqueue(row.seq);
    return this.get(operationName(this.#service, id));
  }

  get(name: string): Operation {
    return this.#message(this.#row(name));
  }

  list(options: ListOptions = {}): OperationPage {
    const kinds = options.kinds ?? [];
    const states = options.states ?? [];
    const scope = ["operations", kinds, states];
    const { size, after } = pageStart({ pageSize: options.pageSize ?? 0, pageToken: options.pageToken ?? "" }, scope);
    const rows = this.#ledger.page(size + 1, after === undefined ? undefined : Number(after), kinds, states);
    const page = rows.slice(0, size);
    const last = page.at(-1);
    const more = rows.length > size && last !== undefined;
    return {
      operations: page.map((row) => this.#message(row)),
      nextPageToken: more ? nextPageToken(String(last.seq), scope) : "",
    };
  }

  cancel(name: string): Operation {
    return this.#stop(name, StopIntent.CANCEL);
  }

  pause(name: string): Operation {
    return this.#stop(name, StopIntent.PAUSE);
  }

  async resume(name: string): Promise<Operation> {
    this.#mustBeOpen();
    const asked = this.#row(name);
    if (asked.stop !== StopIntent.NONE) await this.#running.get(asked.seq)?.settled;
    const row = this.#row(name);
    if (row.state === OperationState.SUCCEEDED) {
      throw failedPrecondition("OPERATION_SUCCEEDED", `${name} has succeeded: there is nothing to resume`);
    }
    if (isDone(row.state) || row.state === OperationState.PAUSED) {
      this.#ledger.requeue(row.seq);
      this.#enqueue(row.seq);
    }
    return this.get(name);
  }

  delete(name: string): void {
    const row = this.#row(name);
    if (!isDone(row.state)) {
      throw failedPrecondition("OPERATION_NOT_DONE", `${name} is not done: cancel it before deleting it`);
    }
    this.#ledger.delete(row.seq);
    this.#changes.notify(name);
  }

  async wait(
    name: string,
    options: { readonly timeoutMs?: number; readonly signal?: AbortSignal } = {},
  ): Promise<Operation> {
    const timeout = options.timeoutMs === undefined ? undefined : AbortSignal.timeout(Math.min(options.timeoutMs, longestTimeoutMs));
    const signal = this.#until(options.signal, timeout);
    for (;;) {
      const operation = this.get(name);
      if (operation.done || timeout?.aborted === true) return operation;
      this.#throwIfStopped(options.signal);
      await this.#changes.next(name, signal);
    }
  }

  async *watch(name: string, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<Operation> {
    const signal = this.#until(options.signal);
    for (;;) {
      const changed = new AbortController();
      const operation = this.get(name);
      // Listening starts before the reader gets the operation: a change while it reads is not missed.
      const next = this.#changes.next(name, AbortSignal.any([signal, changed.signal]));
      try {
        yield operation;
        if (operation.done) return;
        await next;
      } finally {
        changed.abort();
      }
      this.#throwIfStopped(options.signal);
      if (!this.get(name).done) await sleep(watchEveryMs, undefined, { signal }).catch(() => undefined);
      this.#throwIfStopped(options.signal);
    }
  }

  recover(): Operation[] {
    const left: LedgerRow[] = [];
    for (const row of this.#ledger.inStates([OperationState.QUEUED, OperationState.RUNNING])) {
      if (this.#running.has(row.seq) || this.#queue.includes(row.seq)) continue;
      if (row.stop === StopIntent.NONE) left.push(row);
      else this.#finishStopped(row, trackerOf(row));
    }
    for (const row of left) this.#enqueue(row.seq);
    return left.map((row) => this.get(operationName(this.#service, row.id)));
  }

  async close(graceMs = 10_000): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(unavailable("ENGINE_CLOSING", `the ${this.#service} service is shutting down`));
    this.#queue.length = 0;
    const running = [...this.#running.values()];
    for (const { abort } of running) abort.abort(this.#closing.signal.reason);
    const timer = new AbortController();
    const grace = sleep(graceMs, undefined, { signal: timer.signal }).catch(() => undefined);
    await Promise.race([Promise.all(running.map(({ settled }) => settled)), grace]);
    timer.abort();
    this.#changes.notifyAll();
    this.#ledger.close();
    this.#lock.release();
  }

  #enqueue(seq: number): void {
    this.#queue.push(seq);
    this.#fillSlots();
  }

  #fillSlots(): void {
    while (this.#running.size < this.#slots && !this.#closing.signal.aborted) {
      const seq = this.#queue.shift();
      if (seq === undefined) return;
      this.#ledger.begin(seq);
      const row = this.#ledger.bySeq(seq);
      if (row === undefined) continue;
      const abort = new AbortController();
      const tracker = trackerOf(row);
      const { promise: settled, resolve } = Promise.withResolvers<void>();
      this.#running.set(seq, { abort, tracker, settled });
      void this.#work(row, abort.signal, tracker).finally(() => {
        this.#running.delete(seq);
        resolve();
        this.#fillSlots();
      });
    }
  }

  async #work(row: LedgerRow, signal: AbortSignal, tracker: ProgressTracker): Promise<void> {
    const name = operationName(this.#service, row.id);
    let savedMs = Date.now();
    const changed = (): void => {
      if (Date.now() - savedMs >= saveProgressEveryMs && !this.#ledger.closed) {
        savedMs = Date.now();
        this.#ledger.saveProgress(row.seq, JSON.stringify(tracker.save()));
      }
      this.#changes.notify(name);
    };
    // The caller of start() gets its answer before the job's own code runs.
    await Promise.resolve();
    try {
      const job = this.#jobs.get(row.kind);
      if (job === undefined) throw failedPrecondition("JOB_UNKNOWN", `this version has no job of kind "${row.kind}"`);
      const runner = new Runner(job, row, { ledger: this.#ledger, name, signal, tracker, retry: this.#retry, changed });
      const output = await runner.run();
      tracker.finish();
      this.#ledger.finish(row.seq, OperationState.SUCCEEDED, JSON.stringify(tracker.save()), { output });
    } catch (error) {
      this.#finishUnfinished(row, tracker, error);
    }
    this.#changes.notify(name);
  }

  /** Ends a run that gave no output: stopped, left for the next process, or failed. */
  #finishUnfinished(row: LedgerRow, tracker: ProgressTracker, error: unknown): void {
    if (this.#ledger.closed) return;
    const stop = this.#ledger.bySeq(row.seq)?.stop ?? StopIntent.NONE;
    if (stop !== StopIntent.NONE) {
      this.#finishStopped({ ...row, stop }, tracker);
    } else if (this.#closing.signal.aborted) {
      this.#ledger.saveProgress(row.seq, JSON.stringify(tracker.save()));
    } else {
      const status = toBinary(StatusSchema, toStatus(toRpcError(error)));
      this.#ledger.finish(row.seq, OperationState.FAILED, JSON.stringify(tracker.save()), { error: status });
    }
  }

  #finishStopped(row: LedgerRow, tracker: ProgressTracker): void {
    const progress = JSON.stringify(tracker.save());
    if (row.stop === StopIntent.PAUSE) {
      this.#ledger.finish(row.seq, OperationState.PAUSED, progress, {});
    } else {
      const error = toBinary(StatusSchema, toStatus(cancelled("the operation was cancelled; it can be resumed")));
      this.#ledger.finish(row.seq, OperationState.CANCELLED, progress, { error });
    }
    this.#changes.notify(operationName(this.#service, row.id));
  }

  #stop(name: string, stop: StopIntent): Operation {
    this.#mustBeOpen();
    const row = this.#row(name);
    const running = this.#running.get(row.seq);
    if (running !== undefined) {
      this.#ledger.requestStop(row.seq, stop);
      running.abort.abort(cancelled("the operation was stopped"));
    } else if (!isDone(row.state)) {
      const at = this.#queue.indexOf(row.seq);
      if (at >= 0) this.#queue.splice(at, 1);
      this.#finishStopped({ ...row, stop }, trackerOf(row));
    }
    return this.get(name);
  }

  #row(name: string): LedgerRow {
    const row = this.#ledger.byId(operationId(this.#service, name));
    if (row === undefined) throw notFound(name);
    return row;
  }

  #message(row: LedgerRow): Operation {
    const tracker = this.#running.get(row.seq)?.tracker ?? trackerOf(row);
    return operationMessage(operationName(this.#service, row.id), row, tracker);
  }

  #mustBeOpen(): void {
    this.#closing.signal.throwIfAborted();
  }

  #throwIfStopped(signal: AbortSignal | undefined): void {
    this.#closing.signal.throwIfAborted();
    if (signal?.aborted === true) throw toRpcError(signal.reason);
  }

  #until(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
    return AbortSignal.any([this.#closing.signal, ...signals.filter((signal) => signal !== undefined)]);
  }
}

function trackerOf(row: LedgerRow): ProgressTracker {
  return new ProgressTracker(JSON.parse(row.progress) as SavedProgress, Date.now);
}

function sameInput(job: Job, row: LedgerRow, packed: Any): boolean {
  const before = anyUnpack(fromBinary(AnySchema, row.input), job.input) ?? create(job.input);
  const now = anyUnpack(packed, job.input) ?? create(job.input);
  return equals(job.input, before, now);
}
