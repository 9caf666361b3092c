import { InputError } from "@mistral-sae/tensor";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { foldWhitening } from "../formats/fold.ts";
import type { SaeWeights } from "../formats/weights.ts";
import { copyRows } from "./batch-writer.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import { checkInit, type TrainerInit } from "./initialise.ts";
import { requireTrainingMemory } from "./layout.ts";
import { requireLoopMemory } from "./loop/loop-layout.ts";
import { readState, type SavedTrainer, type TrainerState, writeState } from "./state.ts";
import { errorOf, type TrainerBackend, type TrainerReply, type TrainerRequest, type TrainerThreadData } from "./trainer-messages.ts";
import { type SharedTrainer, TrainerMemory } from "./trainer-memory.ts";
import type { TrainerMetrics, TrainerPort } from "./trainer-port.ts";
import { exportWeights } from "./weights.ts";
import { readWhitening, whiteningOf } from "./whitening.ts";

interface Waiting {
  readonly slot: number;
  resolve(reply: TrainerReply): void;
  reject(error: Error): void;
}

/** A trainer's thread that has its memory and its initial weights. */
interface StartedThread {
  readonly config: ResolvedTrainerConfig;
  readonly worker: Worker;
  readonly exited: Promise<void>;
  readonly shared: SharedTrainer;
  /** Whether a state must be restored first. */
  readonly blank: boolean;
}

/**
 * Starts a trainer's thread with initial weights. Throws InputError for a sample or weights that cannot be trained, and, before
 * anything is allocated, when the training would not fit in memory.
 */
export async function startTrainerThread(config: ResolvedTrainerConfig, init: TrainerInit, backend: TrainerBackend): Promise<StartedThread> {
  if (backend.kind === "loop") requireLoopMemory(config);
  else requireTrainingMemory(config);
  checkInit(config, init);
  const workerData: TrainerThreadData = { config, init, backend };
  const worker = new Worker(new URL("trainer-thread.ts", import.meta.url), { workerData, name: "sae-trainer" });
  // Listened for from the start: a thread that fails can have ended before its message is looked at.
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  const reply = await Promise.race([once(worker, "message").then(([first]: TrainerReply[]) => first), exited]);
  if (reply === undefined) throw new Error("the trainer's thread ended before it was ready");
  if (reply.kind === "ready") return { config, worker, exited, shared: reply.shared, blank: init.restored ?? false };
  await exited;
  throw reply.kind === "failed" ? errorOf(reply.error) : new Error(`the trainer's thread answered ${reply.kind} at its start`);
}

/** A trainer whose steps run in a thread of its own around one shared memory. The caller's thread only copies batches. */
export class ThreadedTrainer implements TrainerPort {
  readonly config: ResolvedTrainerConfig;
  /** For BatchWriter, in this thread or another. */
  readonly shared: SharedTrainer;
  readonly #memory: TrainerMemory;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #waiting: Waiting[] = [];
  readonly #listeners: (() => void)[] = [];
  /** Slots that a step uses, or will use next. */
  readonly #busy = new Set<number>();
  /** Steps that wait for a slot. */
  #filling = 0;
  #stepsDone = 0;
  #blank: boolean;
  #nextSlot = 0;
  #ended: Error | undefined;

  protected constructor({ config, worker, exited, shared, blank }: StartedThread) {
    this.#blank = blank;
    this.config = config;
    this.shared = shared;
    this.#memory = new TrainerMemory(shared);
    this.#worker = worker;
    worker.on("message", (reply: TrainerReply) => this.#answered(reply));
    worker.on("error", (error: Error) => this.#end(error));
    // Never terminate(): cutting into onnxruntime's work, or into the thread's own end, aborts the whole process.
    this.#exited = exited.then(() => this.#end(new Error("the trainer's thread has ended")));
  }

  get stepsDone(): number {
    return this.#stepsDone;
  }

  /** Batch slots, numbered from 0. */
  get slots(): number {
    return this.config.batchSlots;
  }

  /** Floats from one row of a slot to the next; columns from a row's own on are padding and must stay zero. */
  get rowStride(): number {
    return this.#memory.layout.rowStride / 4;
  }

  /** Rows of a slot, [B, rowStride], as a view: write to it only while no step that was asked for uses it. */
  slot(index: number): Float32Array {
    return this.#memory.slot(this.#checkSlot(index));
  }

  async step(batch: Float32Array | number): Promise<TrainerMetrics> {
    if (this.#blank) throw new InputError("this trainer was opened to go on from a saved state", { field: "restored", got: "a step", wanted: "restore() first" });
    const reply = await (typeof batch === "number" ? this.#askStep(this.#checkSlot(batch)) : this.#fillAndStep(batch));
    if (reply.kind !== "stepped") throw new Error(`the trainer's thread answered ${reply.kind} to a step`);
    this.#stepsDone = reply.metrics.step;
    return reply.metrics;
  }

  async state(): Promise<TrainerState> {
    await this.#settled();
    return readState(this.#memory, this.config);
  }

  async restore(saved: SavedTrainer): Promise<void> {
    await this.#settled();
    await writeState(this.#memory, this.config, saved);
    this.#stepsDone = this.#memory.step;
    this.#blank = false;
  }

  async weights(metadata: Readonly<Record<string, unknown>> = {}): Promise<SaeWeights> {
    await this.#settled();
    const sae = exportWeights(this.#memory, this.config, metadata);
    const whitening = readWhitening(this.#memory);
    return whitening === undefined ? sae : foldWhitening(sae, whiteningOf(whitening));
  }

  async close(): Promise<void> {
    await this.#settled().catch(() => undefined);
    if (this.#ended === undefined) await this.#ask({ kind: "close" }, -1).catch(() => undefined);
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #checkSlot(index: number): number {
    if (Number.isInteger(index) && index >= 0 && index < this.slots) return index;
    throw new InputError("no such batch slot", { field: "slot", got: index, wanted: `0 to ${this.slots - 1}` });
  }

  /** Copies a batch into a slot that no step uses, at once when there is one, and asks for its step. */
  async #fillAndStep(batch: Float32Array): Promise<TrainerReply> {
    const { batch: rows, rowColumns: d } = this.#memory.layout;
    if (batch.length !== rows * d) throw new InputError("a step takes whole batches", { field: "batch", got: `${batch.length} values`, wanted: `${rows} rows of ${d}` });
    const slot = this.#nextSlot;
    this.#nextSlot = (slot + 1) % this.slots;
    this.#filling++;
    while (this.#busy.has(slot) && this.#ended === undefined) await this.#nextAnswer();
    this.#filling--;
    this.#busy.add(slot);
    copyRows(this.#memory, slot, 0, batch);
    // Nothing is awaited between the copy and the request: steps keep the order in which they were asked for.
    return await this.#askStep(slot);
  }

  async #askStep(slot: number): Promise<TrainerReply> {
    return await this.#ask({ kind: "step", slot }, slot);
  }

  async #settled(): Promise<void> {
    while ((this.#waiting.length > 0 || this.#filling > 0) && this.#ended === undefined) await this.#nextAnswer();
    if (this.#ended !== undefined) throw this.#ended;
  }

  /** Waits until a request is answered, or the trainer ends. */
  async #nextAnswer(): Promise<void> {
    await new Promise<void>((resolve) => this.#listeners.push(resolve));
  }

  async #ask(request: TrainerRequest, slot: number): Promise<TrainerReply> {
    if (this.#ended !== undefined) throw this.#ended;
    return await new Promise<TrainerReply>((resolve, reject) => {
      this.#waiting.push({ slot, resolve, reject });
      this.#busy.add(slot);
      this.#worker.postMessage(request);
    });
  }

  #answered(reply: TrainerReply): void {
    if (reply.kind === "closed") this.#ended = new Error("the trainer is closed");
    const waiting = this.#waiting.shift();
    if (waiting !== undefined && !this.#waiting.some(({ slot }) => slot === waiting.slot)) this.#busy.delete(waiting.slot);
    if (reply.kind === "failed") waiting?.reject(errorOf(reply.error));
    else waiting?.resolve(reply);
    for (const listener of this.#listeners.splice(0)) listener();
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(this.#ended);
    for (const listener of this.#listeners.splice(0)) listener();
  }
}
