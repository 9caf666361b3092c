/**
 * Events from the scheduler to one reader. The writer never waits: it looks at `full` before it makes more, so that a
 * slow reader holds up its own generation and nobody else's.
 */
export class Channel<T> implements AsyncIterable<T> {
  readonly #capacity: number;
  readonly #items: T[] = [];
  #head = 0;
  #ended = false;
  #error: unknown = undefined;
  #wake: (() => void) | undefined;
  /** Called when a full channel has been read down to half. */
  onDrained: () => void = () => undefined;
  #wasFull = false;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#items.length - this.#head;
  }

  /** Whether the reader is so far behind that nothing more should be made for it. */
  get full(): boolean {
    if (this.size >= this.#capacity) this.#wasFull = true;
    return this.size >= this.#capacity;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake?.();
  }

  /** Ends the stream, with an error if there is one; what was pushed before is still read. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      while (this.size > 0) {
        const item = this.#items[this.#head++] as T;
        if (this.#head > 64 && this.#head * 2 > this.#items.length) {
          this.#items.splice(0, this.#head);
          this.#head = 0;
        }
        if (this.#wasFull && this.size * 2 <= this.#capacity) {
          this.#wasFull = false;
          this.onDrained();
        }
        yield item;
      }
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }
}
