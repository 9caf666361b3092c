import { Worker } from "node:worker_threads";
import { SqlError } from "@mistral-sae/clickhouse";
import { InputError } from "@mistral-sae/tensor";
import type { DoneMessage, TaskMessage } from "./worker-side.ts";

interface Waiting {
  readonly task: unknown;
  readonly transfer: readonly ArrayBuffer[];
  readonly settle: { resolve(value: unknown): void; reject(error: unknown): void };
}

interface Slot {
  readonly worker: Worker;
  current: { readonly id: number; readonly settle: Waiting["settle"] } | undefined;
}

/** Threads that run tasks of one module (see `serveTasks`), each one task at a time. */
export class WorkerPool implements AsyncDisposable {
  readonly #slots: Slot[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #script: URL;
  readonly #size: number;
  readonly #workerData: unknown;
  #nextId = 0;
  #closed = false;

  /** At most `size` threads over `script`, each started when it is first needed. */
  constructor(script: URL, size: number, workerData?: unknown) {
    this.#script = script;
    this.#size = size;
    this.#workerData = workerData;
  }

  /** Runs a task in the first free thread. Memory in `transfer` is handed over. Rejects with what the task threw. */
  async run<Result>(task: unknown, transfer: readonly ArrayBuffer[] = []): Promise<Result> {
    if (this.#closed) throw new Error("the workers have been ended");
    return (await new Promise<unknown>((resolve, reject) => {
      this.#waiting.push({ task, transfer, settle: { resolve, reject } });
      this.#dispatch();
    })) as Result;
  }

  /** What work in these threads comes to. An abort ends them, and is what this rejects with. */
  async until<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
    const end = () => void this.close();
    signal.addEventListener("abort", end, { once: true });
    try {
      return await work;
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  /** Ends the threads; what still ran is rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    const gone = new Error("the workers have been ended");
    for (const { settle } of this.#waiting.splice(0)) settle.reject(gone);
    await Promise.all(this.#slots.splice(0).map(async ({ worker, current }) => {
      current?.settle.reject(gone);
      await worker.terminate();
    }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const slot = this.#slots.find(({ current }) => current === undefined) ?? this.#start();
      if (slot === undefined) return;
      const { task, transfer, settle } = this.#waiting.shift() as Waiting;
      const id = this.#nextId++;
      slot.current = { id, settle };
      slot.worker.ref();
      slot.worker.postMessage({ id, task } satisfies TaskMessage, [...transfer]);
    }
  }

  #start(): Slot | undefined {
    if (this.#slots.length >= this.#size) return undefined;
    const slot: Slot = { worker: new Worker(this.#script, { workerData: this.#workerData }), current: undefined };
    slot.worker.unref();
    slot.worker.on("message", (done: DoneMessage) => {
      const current = slot.current;
      if (current?.id !== done.id) return;
      slot.current = undefined;
      slot.worker.unref();
      if (done.error === undefined) current.settle.resolve(done.result);
      else current.settle.reject(errorOf(done));
      this.#dispatch();
    });
    slot.worker.on("error", (error) => this.#lose(slot, error));
    slot.worker.on("exit", (code) => this.#lose(slot, new Error(`a worker of ${this.#script.pathname} ended with code ${code}`)));
    this.#slots.push(slot);
    return slot;
  }

  /** A thread has died: its task fails, and the next one gets a new thread. */
  #lose(slot: Slot, error: Error): void {
    const at = this.#slots.indexOf(slot);
    if (at >= 0) this.#slots.splice(at, 1);
    slot.current?.settle.reject(error);
    slot.current = undefined;
    if (!this.#closed) this.#dispatch();
  }
}

/** A task's error with the class that it had in its thread. */
function errorOf({ error, away, input }: DoneMessage): unknown {
  if (input !== undefined) return new InputError(input.summary, input, { cause: error });
  if (away === true) return new SqlError(error instanceof Error ? error.message : "ClickHouse is away", "connection", 0, "", { cause: error });
  return error;
}
