/** Words of the block. */
const AVAILABLE = 0;
const END = 1;
const FLOOR = 2;
const WAITING = 3;
const WORDS = 4;

/** How long a sleep lasts at most: a thread that has nothing else to do must still notice that it is to stop. */
const LONGEST_SLEEP_MS = 250;

/**
 * What a harvest, a loader and a trainer that work at the same time tell each other, in shared memory. Shards of
 * the stream are counted over all epochs: shard i of epoch e is `e * shards + i`.
 */
export class StreamFlow {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer = newMemory()) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** Shards of the stream before this one are stored, from {@link floor} on. */
  get available(): number {
    return Atomics.load(this.#words, AVAILABLE);
  }

  /** Shards of an epoch; undefined until the harvest knows them. */
  get end(): number | undefined {
    const shards = Atomics.load(this.#words, END);
    return shards < 0 ? undefined : shards;
  }

  /** First shard that a resumed run could need; undefined until the trainer has told where it starts. */
  get floor(): number | undefined {
    const floor = Atomics.load(this.#words, FLOOR);
    return floor < 0 ? undefined : floor;
  }

  /** Whether the harvest waits for the floor to rise. */
  get waiting(): boolean {
    return Atomics.load(this.#words, WAITING) !== 0;
  }

  announce(available: number): void {
    this.#tell(AVAILABLE, available);
  }

  announceEnd(shards: number): void {
    Atomics.store(this.#words, END, shards);
    // Who sleeps, sleeps on what is available.
    Atomics.notify(this.#words, AVAILABLE);
  }

  raiseFloor(floor: number): void {
    this.#tell(FLOOR, Math.max(floor, Atomics.load(this.#words, FLOOR)));
  }

  setWaiting(waiting: boolean): void {
    Atomics.store(this.#words, WAITING, Number(waiting));
  }

  /** Resolves once `ready` holds; it is asked again when a shard comes or the epoch's end is known. */
  async untilAvailable(ready: () => boolean, signal?: AbortSignal): Promise<void> {
    await this.#until(AVAILABLE, ready, signal);
  }

  /** Resolves once `ready` holds; it is asked again when the floor rises. */
  async untilFloor(ready: () => boolean, signal?: AbortSignal): Promise<void> {
    await this.#until(FLOOR, ready, signal);
  }

  async #until(word: number, ready: () => boolean, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      const seen = Atomics.load(this.#words, word);
      if (ready()) return;
      const change = Atomics.waitAsync(this.#words, word, seen, LONGEST_SLEEP_MS);
      if (change.async) await change.value;
    }
  }

  #tell(word: number, value: number): void {
    Atomics.store(this.#words, word, value);
    Atomics.notify(this.#words, word);
  }
}

function newMemory(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(WORDS * 4);
  const words = new Int32Array(memory);
  words[END] = -1;
  words[FLOOR] = -1;
  return memory;
}
