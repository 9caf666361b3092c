type Numbers = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>;

/** A typed array that grows by doubling and keeps its memory when it is cleared. */
export class Growing<A extends Numbers> {
  readonly #make: (length: number) => A;
  #values: A;
  length = 0;

  constructor(make: (length: number) => A, capacity = 1024) {
    this.#make = make;
    this.#values = make(capacity);
  }

  /** The memory itself, valid until the next call that adds; entries from `length` on are rubbish. */
  get values(): A {
    return this.#values;
  }

  /** What was added; a view, valid until the next call that adds. */
  view(): A {
    return this.#values.subarray(0, this.length) as A;
  }

  /** Makes room for `more` entries beyond `length` and returns the memory. */
  room(more: number): A {
    if (this.length + more > this.#values.length) {
      const grown = this.#make(Math.max(this.length + more, 2 * this.#values.length));
      grown.set(this.#values.subarray(0, this.length) as never);
      this.#values = grown;
    }
    return this.#values;
  }

  push(value: A[number]): void {
    this.room(1)[this.length++] = value as never;
  }

  append(values: ArrayLike<A[number]>): void {
    this.room(values.length).set(values as never, this.length);
    this.length += values.length;
  }

  clear(): void {
    this.length = 0;
  }
}
