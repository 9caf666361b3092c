import { Worker } from "node:worker_threads";
import { EngineEndedError } from "../engine-ended-error.ts";
import { fromMessage } from "../worker/error-message.ts";
import { openingId, type CommandName, type Commands, type Reply, type Request, type WorkerSettings } from "../worker/protocol.ts";
import { transferables } from "../worker/transfer.ts";

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** What the worker says first: of its model, or why it has none. */
type Opened = Commands["open"]["result"];

/** What a call may say beside its arguments. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly move?: readonly ArrayBufferView[];
}

/**
 * The thread that runs a model, and the calls that wait for it. A thread and no process of its own: residuals change
 * hands by moving their buffers, where a pipe copies them on the event loop (19 ms for 8 MiB, against 2). What an error of
 * its code ends is the thread alone; a native abort, which cutting into a run is too, ends the process, and its
 * supervisor starts that again.
 */
export class WorkerLink {
  readonly closed: Promise<Error | undefined>;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #next = openingId + 1;
  #closing = false;
  #end: Error | undefined;

  private constructor(settings: WorkerSettings) {
    this.#worker = new Worker(new URL("../worker/main.ts", import.meta.url), { workerData: settings, name: "model" });
    this.#worker.on("message", (reply: Reply) => {
      this.#settle(reply);
    });
    this.#worker.on("error", (error) => {
      this.#fail(new EngineEndedError(`the engine's thread died: ${error.message}`, { cause: error }));
    });
    this.closed = new Promise((resolve) => {
      this.#worker.once("exit", (code) => {
        this.#fail(new EngineEndedError(this.#closing ? "the engine is closed" : `the engine's thread ended with code ${code}`));
        resolve(this.#closing ? undefined : this.#end);
      });
    });
  }

  /** Starts the thread and waits until it has read the model. */
  static async open(settings: WorkerSettings): Promise<{ link: WorkerLink; opened: Opened }> {
    const link = new WorkerLink(settings);
    const opened = await new Promise<Opened>((resolve, reject) => {
      link.#pending.set(openingId, {
        resolve: (result) => {
          resolve(result as Opened);
        },
        reject,
      });
    });
    return { link, opened };
  }

  /**
   * Has a piece of work done. An abort takes it back if it has not begun; in any case the call then ends with the
   * signal's reason, once the work is out of the way. `move` are arrays that the caller has no further use for.
   */
  async call<K extends CommandName>(name: K, args: Commands[K]["args"], options: CallOptions = {}): Promise<Commands[K]["result"]> {
    options.signal?.throwIfAborted();
    const result = await this.callThrough(name, args, options);
    options.signal?.throwIfAborted();
    return result as Commands[K]["result"];
  }

  /** As `call`, but an abort does not throw: the result is undefined when the work was taken back, else what it gave. */
  async callThrough<K extends CommandName>(name: K, args: Commands[K]["args"], options: CallOptions = {}): Promise<Commands[K]["result"] | undefined> {
    const { signal, move } = options;
    if (this.#end !== undefined || this.#closing) throw this.#end ?? new EngineEndedError("the engine is closed");
    const id = this.#next++;
    const done = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    this.#worker.postMessage({ id, name, args } satisfies Request, transferables(move ?? []));
    const drop = (): void => {
      this.#worker.postMessage({ drop: id } satisfies Request);
    };
    signal?.addEventListener("abort", drop, { once: true });
    try {
      return (await done) as Commands[K]["result"] | undefined;
    } finally {
      signal?.removeEventListener("abort", drop);
    }
  }

  /** Ends the thread; calls that wait reject. */
  async close(): Promise<void> {
    if (!this.#closing && this.#end === undefined) {
      this.#closing = true;
      for (const { reject } of this.#pending.values()) reject(new EngineEndedError("the engine is closed"));
      this.#pending.clear();
      this.#worker.postMessage({ id: openingId, name: "close", args: undefined } satisfies Request);
    }
    await this.closed;
  }

  #settle(reply: Reply): void {
    const pending = this.#pending.get(reply.id);
    this.#pending.delete(reply.id);
    if ("error" in reply) pending?.reject(fromMessage(reply.error));
    else pending?.resolve(reply.result);
  }

  #fail(error: Error): void {
    this.#end ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
  }
}
