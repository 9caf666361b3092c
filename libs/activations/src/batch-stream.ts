import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from "node:worker_threads";
import { InputError } from "@mistral-sae/tensor";
import { allocateRing, RingConsumer } from "./batch-ring.ts";
import type { LoaderTask } from "./loader-task.ts";
import type { RowFile } from "./row-file.ts";
import { RowOrder, type RowCursor } from "./row-order.ts";
import { unpackError, type PackedError } from "./thread-error.ts";

/** How rows are served. */
export interface BatchOptions {
  /** Rows of every batch: no batch is ever short. */
  readonly batchRows: number;
  readonly seed: bigint;
  /** Rows held in memory at a time. */
  readonly bufferRows: number;
  readonly shuffle: boolean;
  /** Rows served before, from a saved cursor. */
  readonly startRow: number;
  /** Batches that may lie ready. */
  readonly slots: number;
}

export const batchDefaults = { seed: 0n, bufferRows: Infinity, shuffle: true, startRow: 0, slots: 4 } as const satisfies Partial<BatchOptions>;

/**
 * Endless batches of f32 rows from activation files, filled by a thread of its own so that the trainer never
 * waits for disk or shuffle. The order is that of {@link RowOrder}.
 */
export class BatchStream implements AsyncDisposable {
  readonly width: number;
  readonly batchRows: number;
  readonly #order: RowOrder;
  readonly #ring: RingConsumer;
  readonly #worker: Worker;
  readonly #failures: MessagePort;
  #rowsServed: number;

  /** @throws InputError when the files hold no rows, or differ in width or element type. */
  constructor(files: readonly RowFile[], options: Partial<BatchOptions> & Pick<BatchOptions, "batchRows">) {
    const { batchRows, seed, bufferRows, shuffle, startRow, slots } = { ...batchDefaults, ...options };
    const { width, dtype } = commonShape(files);
    const plan = { shardRows: files.map((file) => file.rows), bufferRows, seed, shuffle };
    this.width = width;
    this.batchRows = batchRows;
    this.#order = new RowOrder(plan);
    this.#rowsServed = startRow;
    const ring = allocateRing(slots, batchRows, width);
    const { port1, port2 } = new MessageChannel();
    this.#failures = port1;
    port1.unref();
    this.#ring = new RingConsumer(ring);
    const task: LoaderTask = { files, plan, width, dtype, batchRows, startRow, ring, failures: port2 };
    this.#worker = new Worker(new URL("./loader-worker.ts", import.meta.url), { workerData: task, transferList: [port2], name: "activation-loader" });
  }

  /** Rows of one pass over all files. */
  get rowsPerEpoch(): number {
    return this.#order.rowsPerEpoch;
  }

  /** Milliseconds that taking a batch has waited. */
  get waitedMs(): number {
    return this.#ring.waitedMs;
  }

  /** Where the next batch starts; a new stream with `startRow: cursor.rowsServed` goes on with the same bits. */
  get cursor(): RowCursor {
    return this.cursorAt(this.#rowsServed);
  }

  /** The place in the stream after so many rows. */
  cursorAt(rowsServed: number): RowCursor {
    return this.#order.cursorAt(rowsServed);
  }

  /**
   * The next batch, [batchRows, width] f32 in shared memory that is valid until the next call. Blocks the
   * thread: for workers.
   * @throws InputError when a file is missing or damaged.
   */
  take(): Float32Array {
    return this.#served(this.#ring.take());
  }

  /** As {@link take}, without blocking. */
  async takeAsync(): Promise<Float32Array> {
    return this.#served(await this.#ring.takeAsync());
  }

  async close(): Promise<void> {
    this.#ring.stop();
    this.#failures.close();
    await this.#worker.terminate();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #served(batch: Float32Array | undefined): Float32Array {
    if (batch === undefined) {
      const received = receiveMessageOnPort(this.#failures) as { readonly message: PackedError } | undefined;
      throw received === undefined ? new Error("the activation loader ended without a reason") : unpackError(received.message);
    }
    this.#rowsServed += this.batchRows;
    return batch;
  }
}

function commonShape(files: readonly RowFile[]): Pick<RowFile, "width" | "dtype"> {
  const [first] = files;
  if (first === undefined) throw new InputError("no activation files were given", { field: "activations", got: "0 files", wanted: "at least 1" });
  const odd = files.find((file) => file.width !== first.width || file.dtype !== first.dtype);
  if (odd !== undefined) {
    throw new InputError(`the rows of ${odd.key} differ from those of ${first.key}`, { file: odd.key, field: "x", got: `${odd.dtype} [n, ${odd.width}]`, wanted: `${first.dtype} [n, ${first.width}]` });
  }
  return first;
}
