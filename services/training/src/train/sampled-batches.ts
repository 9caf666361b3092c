import { setTimeout as sleep } from "node:timers/promises";
import type { BatchStream } from "@mistral-sae/activations";

/** How often a take that may be interrupted looks for a batch. */
const POLL_MS = 5;

/** Batches of a stream whose first rows can be looked at before they are trained on like all others. */
export class SampledBatches implements AsyncDisposable {
  readonly #stream: BatchStream;
  /** Batches that were looked at and not yet taken. */
  readonly #ahead: Float32Array[] = [];
  #rowsServed: number;
  #polledMs = 0;

  constructor(stream: BatchStream) {
    this.#stream = stream;
    this.#rowsServed = stream.rowsServed;
  }

  get batchRows(): number {
    return this.#stream.batchRows;
  }

  /** Milliseconds spent waiting for rows. */
  get waitedMs(): number {
    return this.#stream.waitedMs + this.#polledMs;
  }

  /** Where the next batch starts. */
  get rowsServed(): number {
    return this.#rowsServed;
  }

  /** First shard that a run which goes on from here needs. */
  async floor(): Promise<number> {
    return await this.#stream.floorAt(this.#rowsServed);
  }

  /** The next rows, [at least `rows`, width], in memory of their own. Call it once, before the first `take`. */
  async peek(rows: number, signal: AbortSignal): Promise<Float32Array> {
    const { batchRows, width } = this.#stream;
    const batches = Math.ceil(rows / batchRows);
    const sample = new Float32Array(batches * batchRows * width);
    for (let at = 0; at < sample.length; at += batchRows * width) {
      sample.set(await this.#stream.takeAsync(signal), at);
      this.#ahead.push(sample.subarray(at, at + batchRows * width));
    }
    return sample;
  }

  /** The next batch, valid until the next call. @returns Undefined when `interrupted` says so while there is none. */
  async take(signal: AbortSignal, interrupted?: () => Promise<boolean>): Promise<Float32Array | undefined> {
    const seen = this.#ahead.shift();
    if (seen === undefined && interrupted !== undefined) {
      const started = performance.now();
      while (!this.#stream.ready && !signal.aborted) {
        if (await interrupted()) return undefined;
        await sleep(POLL_MS);
      }
      this.#polledMs += performance.now() - started;
    }
    const batch = seen ?? (await this.#stream.takeAsync(signal));
    this.#rowsServed += this.batchRows;
    return batch;
  }

  async close(): Promise<void> {
    await this.#stream.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
