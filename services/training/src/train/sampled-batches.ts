import type { BatchStream, RowCursor } from "@mistral-sae/activations";

/** Batches of a stream whose first rows can be looked at before they are trained on like all others. */
export class SampledBatches implements AsyncDisposable {
  readonly #stream: BatchStream;
  /** Batches that were looked at and not yet taken. */
  readonly #ahead: Float32Array[] = [];
  #cursor: RowCursor;

  constructor(stream: BatchStream) {
    this.#stream = stream;
    this.#cursor = stream.cursor;
  }

  get batchRows(): number {
    return this.#stream.batchRows;
  }

  /** Milliseconds spent waiting for rows. */
  get waitedMs(): number {
    return this.#stream.waitedMs;
  }

  /** Where the next batch starts. */
  get cursor(): RowCursor {
    return this.#cursor;
  }

  /** The next rows, [at least `rows`, width], in memory of their own. Call it once, before the first `take`. */
  async peek(rows: number): Promise<Float32Array> {
    const { batchRows, width } = this.#stream;
    const batches = Math.ceil(rows / batchRows);
    const sample = new Float32Array(batches * batchRows * width);
    for (let at = 0; at < sample.length; at += batchRows * width) {
      sample.set(await this.#stream.takeAsync(), at);
      this.#ahead.push(sample.subarray(at, at + batchRows * width));
    }
    return sample;
  }

  /** The next batch, valid until the next call. */
  async take(): Promise<Float32Array> {
    const batch = this.#ahead.shift() ?? (await this.#stream.takeAsync());
    this.#cursor = this.#stream.cursorAt(this.#cursor.rowsServed + this.batchRows);
    return batch;
  }

  async close(): Promise<void> {
    await this.#stream.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
