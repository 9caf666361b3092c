import { Worker } from "node:worker_threads";
import type { BpeModel } from "../bpe/model.ts";
import type { FormatName } from "../formats/formats.ts";
import type { TokenizerSource } from "../formats/source.ts";
import { type EncodedText, type EncodeMode, errorOf, type Job, type Outcome, type ThreadData } from "./protocol.ts";

/** A thread without work ends after this long and is started anew when there is some. */
const IDLE_MS = 10_000;

interface Pending {
  readonly job: Job;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: unknown) => void;
  readonly signal: AbortSignal | undefined;
}

/**
 * A thread that reads a tokenizer file and encodes long texts, one job after the other. It needs no closing: without
 * work it does not keep the process alive, and ends by itself.
 */
export class EncoderThread {
  #data: ThreadData;
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  #current: Pending | undefined;
  readonly #waiting: Pending[] = [];

  /** @param model what encodes; left out when the thread is to read a file first. */
  constructor(model?: BpeModel) {
    this.#data = model;
  }

  /** Reads a tokenizer file; what encodes from then on is the tokenizer read. @throws InputError. */
  async read(format: FormatName, file: string): Promise<TokenizerSource> {
    const outcome = await this.#run({ kind: "read", format, file });
    if (outcome.kind !== "source") throw new Error(`the tokenizer's thread answered ${outcome.kind}`);
    this.#data = outcome.source.model;
    return outcome.source;
  }

  /** @throws InputError for a text that cannot be encoded, or the signal's reason: its job is cut off. */
  async encode(texts: readonly string[], mode: EncodeMode, signal?: AbortSignal): Promise<readonly EncodedText[]> {
    const outcome = await this.#run({ kind: "encode", texts, mode }, signal);
    if (outcome.kind !== "encoded") throw new Error(`the tokenizer's thread answered ${outcome.kind}`);
    return outcome.texts;
  }

  async #run(job: Job, signal?: AbortSignal): Promise<Outcome> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    const pending: Pending = { job, resolve, reject, signal };
    const abort = (): void => this.#abort(pending);
    signal?.addEventListener("abort", abort, { once: true });
    this.#waiting.push(pending);
    this.#next();
    try {
      const outcome = await promise;
      if (outcome.kind === "failed") throw errorOf(outcome.failure);
      return outcome;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #abort(pending: Pending): void {
    pending.reject(pending.signal?.reason);
    const at = this.#waiting.indexOf(pending);
    if (at >= 0) this.#waiting.splice(at, 1);
    // What runs hears nothing until it is done; ending its thread is the only way to stop it.
    if (this.#current === pending) {
      this.#stop();
      this.#next();
    }
  }

  #next(): void {
    if (this.#current !== undefined) return;
    const pending = this.#waiting.shift();
    clearTimeout(this.#idle);
    if (pending === undefined) {
      this.#worker?.unref();
      this.#idle = setTimeout(() => this.#stop(), IDLE_MS).unref();
      return;
    }
    this.#current = pending;
    const worker = (this.#worker ??= this.#start());
    worker.ref();
    worker.postMessage(pending.job);
  }

  #start(): Worker {
    const worker = new Worker(new URL("main.ts", import.meta.url), { workerData: this.#data, name: "tokenizer" });
    const fail = (error: unknown): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#settle((pending) => pending.reject(error));
    };
    worker.on("message", (outcome: Outcome) => {
      if (this.#worker === worker) this.#settle((pending) => pending.resolve(outcome));
    });
    worker.on("error", fail);
    worker.on("exit", (code) => fail(new Error(`the tokenizer's thread ended (exit code ${code})`)));
    return worker;
  }

  #settle(settle: (pending: Pending) => void): void {
    const pending = this.#current;
    this.#current = undefined;
    if (pending !== undefined) settle(pending);
    this.#next();
  }

  #stop(): void {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#current = undefined;
    void worker?.terminate();
  }
}
