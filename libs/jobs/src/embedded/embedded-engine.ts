import { setTimeout as sleep } from "node:timers/promises";
import { create, equals, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { type Any, anyPack, AnySchema, anyUnpack } from "@bufbuild/protobuf/wkt";
import { type Operation, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import {
  alreadyExists,
  Code,
  failedPrecondition,
  invalidArgument,
  nextPageToken,
  notFound,
  pageStart,
  requireId,
  RpcError,
  toRpcError,
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
import { noProgress } from "./progress-tracker.ts";
import { retryDefaults, type RetryPolicy } from "./retry.ts";
import { Scheduler } from "./scheduler.ts";

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

/** How often a watcher is told of progress. */
const watchEveryMs = 100;
/** Timers of node end here, about 24 days. */
const longestTimeoutMs = 2 ** 31 - 1;

/** JobEngine in one process over one SQLite file. */
export class EmbeddedEngine implements JobEngine {
  readonly #service: string;
  readonly #jobs: ReadonlyMap<string, Job>;
  readonly #lock: LedgerLock;
  readonly #ledger: Ledger;
  readonly #scheduler: Scheduler;
  readonly #changes = new ChangeSignal();
  readonly #closing = new AbortController();

  constructor(options: EmbeddedEngineOptions) {
    this.#service = options.service;
    this.#jobs = new Map(options.definitions.map((job) => [job.kind, job]));
    if (this.#jobs.size < options.definitions.length) throw new Error("two job definitions have the same kind");
    this.#lock = new LedgerLock(options.path);
    this.#ledger = new Ledger(options.path);
    this.#scheduler = new Scheduler({
      service: options.service,
      ledger: this.#ledger,
      jobs: this.#jobs,
      slots: options.operationsInParallel ?? 4,
      retry: { ...retryDefaults, ...options.retry },
      changed: (name) => this.#changes.notify(name),
    });
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
      const taken = operationName(this.#service, before.id);
      throw new RpcError(
        Code.AlreadyExists,
        `request_id: "${requestId}" has started ${taken} with another request; use a new request_id`,
        { reason: "REQUEST_ID_REUSED", metadata: { operation: taken } },
      );
    }
    const id = options.id === undefined ? newId(kind) : requireId("id", options.id);
    if (this.#ledger.byId(id) !== undefined) throw alreadyExists(operationName(this.#service, id));
    const bytes = toBinary(AnySchema, packed);
    const row = this.#ledger.insert({ id, kind, requestId, input: bytes, progress: JSON.stringify(noProgress) });
    this.#scheduler.enqueue(row.seq);
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
    if (asked.stop !== StopIntent.NONE) await this.#scheduler.settled(asked.seq);
    const row = this.#row(name);
    if (row.state === OperationState.SUCCEEDED) {
      throw failedPrecondition("OPERATION_SUCCEEDED", `${name} has succeeded: there is nothing to resume`);
    }
    if (isDone(row.state) || row.state === OperationState.PAUSED) {
      // A failed run has written its end, and leaves its slot a moment later.
      await this.#scheduler.settled(row.seq);
      if (!this.#scheduler.has(row.seq)) {
        this.#ledger.requeue(row.seq);
        this.#scheduler.enqueue(row.seq);
      }
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
    const { timeoutMs } = options;
    const timeout = timeoutMs === undefined ? undefined : AbortSignal.timeout(Math.min(timeoutMs, longestTimeoutMs));
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
      const gone = new AbortController();
      const operation = this.get(name);
      // Listening starts before the reader gets the operation: a change while it reads is not missed.
      const next = this.#changes.next(name, AbortSignal.any([signal, gone.signal]));
      try {
        yield operation;
        if (operation.done) return;
        await next;
      } finally {
        gone.abort();
      }
      this.#throwIfStopped(options.signal);
      if (!this.get(name).done) await sleep(watchEveryMs, undefined, { signal }).catch(() => undefined);
      this.#throwIfStopped(options.signal);
    }
  }

  recover(): Operation[] {
    const left: LedgerRow[] = [];
    for (const row of this.#ledger.inStates([OperationState.QUEUED, OperationState.RUNNING])) {
      if (this.#scheduler.has(row.seq)) continue;
      if (row.stop === StopIntent.NONE) left.push(row);
      else this.#scheduler.finishStopped(row);
    }
    for (const row of left) this.#scheduler.enqueue(row.seq);
    return left.map((row) => this.get(operationName(this.#service, row.id)));
  }

  async close(graceMs = 10_000): Promise<void> {
    if (this.#closing.signal.aborted) return;
    const reason = unavailable("ENGINE_CLOSING", `the ${this.#service} service is shutting down`);
    this.#closing.abort(reason);
    await this.#scheduler.close(reason, graceMs);
    this.#changes.notifyAll();
    this.#ledger.close();
    this.#lock.release();
  }

  #stop(name: string, stop: StopIntent): Operation {
    this.#mustBeOpen();
    const row = this.#row(name);
    if (!isDone(row.state)) this.#scheduler.stop(row, stop);
    return this.get(name);
  }

  #row(name: string): LedgerRow {
    const row = this.#ledger.byId(operationId(this.#service, name));
    if (row === undefined) throw notFound(name);
    return row;
  }

  #message(row: LedgerRow): Operation {
    return operationMessage(operationName(this.#service, row.id), row, this.#scheduler.trackerOf(row));
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

function sameInput(job: Job, row: LedgerRow, packed: Any): boolean {
  const before = anyUnpack(fromBinary(AnySchema, row.input), job.input) ?? create(job.input);
  const now = anyUnpack(packed, job.input) ?? create(job.input);
  return equals(job.input, before, now);
}
