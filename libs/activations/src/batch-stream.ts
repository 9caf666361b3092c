import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from "node:worker_threads";
import { allocateRing, RingConsumer } from "./batch-ring.ts";
import type { LoaderTask } from "./loader-task.ts";
import { StreamedGroups } from "./row-groups.ts";
import { RowOrder } from "./row-order.ts";
import { columnWidths, type RowSource } from "./row-source.ts";
import { unpackError, type PackedError } from "./thread-error.ts";

/** How rows are served. */
export interface BatchOptions {
  /** Rows of every batch: no batch is ever short. */
  readonly batchRows: number;
  readonly seed: bigint;
  /** Rows held in memory at a time. */
  readonly bufferRows: number;
  /** False serves stored rows from first to last, again and again; streamed ones are always shuffled. */
  readonly shuffle: boolean;
  /** Rows served before, from a checkpoint. */
  readonly startRow: number;
  /** Batches that may lie ready. */
  readonly slots: number;
}

export const batchDefaults = { seed: 0n, bufferRows: Infinity, shuffle: true, startRow: 0, slots: 4 } as const satisfies Partial<BatchOptions>;

/**
 * Batches of f32 rows, filled by a thread of its own so that the trainer never waits for disk or shuffle. Rows of
 * several parts lie side by side. The order is that of {@link RowOrder}, or of {@link StreamOrder} for rows that
 * are still being harvested: a function of the source and the options, so that a stream which starts at the row
 * where another stopped goes on with the same bits.
 */
export class BatchStream implements AsyncDisposable {
  /** Values of a row, all parts together. */
  readonly width: number;
  readonly batchRows: number;
  readonly #streamed: StreamedGroups | undefined;
  readonly #ring: RingConsumer;
  readonly #worker: Worker;
  readonly #failures: MessagePort;
  #rowsServed: number;

  /** @throws InputError when a stored shard does not fit the buffer. */
  constructor(source: RowSource, options: Partial<BatchOptions> & Pick<BatchOptions, "batchRows">) {
    const { batchRows, seed, bufferRows, shuffle, startRow, slots } = { ...batchDefaults, ...options };
    const order = { bufferRows, seed, shuffle };
    if (source.kind === "stored") void new RowOrder({ ...order, shardRows: (source.columns[0] ?? []).map((file) => file.rows) });
    this.width = columnWidths(source).reduce((sum, part) => sum + part, 0);
    this.batchRows = batchRows;
    this.#streamed = source.kind === "streamed" ? new StreamedGroups(source, order) : undefined;
    this.#rowsServed = startRow;
    const ring = allocateRing(slots, batchRows, this.width);
    const { port1, port2 } = new MessageChannel();
    this.#failures = port1;
    port1.unref();
    this.#ring = new RingConsumer(ring);
    const task: LoaderTask = { source, order, batchRows, startRow, ring, failures: port2 };
    this.#worker = new Worker(new URL("./loader-worker.ts", import.meta.url), { workerData: task, transferList: [port2], name: "activation-loader" });
  }

  /** Milliseconds that taking a batch has waited. */
  get waitedMs(): number {
    return this.#ring.waitedMs;
  }

  /** Where the next batch starts: the `startRow` of a stream that goes on from here. */
  get rowsServed(): number {
    return this.#rowsServed;
  }

  /** First shard of the stream that a run which goes on at `row` reads; 0 of stored rows. */
  async floorAt(row: number): Promise<number> {
    return (await this.#streamed?.floorAt(row)) ?? 0;
  }

  /** Whether a batch lies ready. */
  get ready(): boolean {
    return this.#ring.ready;
  }

  /**
   * The next batch, [batchRows, width] f32 in shared memory that is valid until the next call. Blocks the
   * thread: for workers.
   * @throws InputError when a file is missing or damaged.
   */
  take(): Float32Array {
    return this.#served(this.#ring.take());
  }

  /** As {@link take}, without blocking. @throws The signal's reason when it aborts. */
  async takeAsync(signal?: AbortSignal): Promise<Float32Array> {
    return this.#served(await this.#ring.takeAsync(signal));
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
