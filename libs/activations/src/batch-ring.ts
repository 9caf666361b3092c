/** Words of the control block. */
const PRODUCED = 0;
const TAKEN = 1;
const STOPPED = 2;
const FAILED = 3;
const WORDS = 4;

/** Memory that a producer thread and a consumer thread share: `slots` batches of f32 [rows, width]. */
export interface RingMemory {
  readonly control: SharedArrayBuffer;
  readonly data: SharedArrayBuffer;
  readonly slots: number;
  readonly rows: number;
  readonly width: number;
}

export function allocateRing(slots: number, rows: number, width: number): RingMemory {
  return {
    control: new SharedArrayBuffer(WORDS * 4),
    data: new SharedArrayBuffer(slots * rows * width * 4),
    slots,
    rows,
    width,
  };
}

/** The end that fills slots. */
export class RingProducer {
  readonly #memory: RingMemory;
  readonly #control: Int32Array;

  constructor(memory: RingMemory) {
    this.#memory = memory;
    this.#control = new Int32Array(memory.control);
  }

  get stopped(): boolean {
    return Atomics.load(this.#control, STOPPED) !== 0;
  }

  /** Waits for a free slot without blocking the thread. @returns Undefined once the consumer has closed. */
  async acquire(): Promise<Float32Array | undefined> {
    for (;;) {
      if (this.stopped) return undefined;
      const taken = Atomics.load(this.#control, TAKEN);
      const produced = Atomics.load(this.#control, PRODUCED);
      if (produced - taken < this.#memory.slots) return slotView(this.#memory, produced);
      const waiting = Atomics.waitAsync(this.#control, TAKEN, taken);
      if (waiting.async) await waiting.value;
    }
  }

  /** Hands the acquired slot over. */
  publish(): void {
    Atomics.add(this.#control, PRODUCED, 1);
    Atomics.notify(this.#control, PRODUCED);
  }

  /** Wakes the consumer, which then asks its port for the reason. */
  fail(): void {
    Atomics.store(this.#control, FAILED, 1);
    Atomics.notify(this.#control, PRODUCED);
  }
}

/** The end that reads slots. A batch is valid until the next one is taken. */
export class RingConsumer {
  readonly #memory: RingMemory;
  readonly #control: Int32Array;
  #holding = false;
  #waitedMs = 0;

  constructor(memory: RingMemory) {
    this.#memory = memory;
    this.#control = new Int32Array(memory.control);
  }

  /** Milliseconds spent waiting for batches so far. */
  get waitedMs(): number {
    return this.#waitedMs;
  }

  /** Blocks the thread (a worker) until a batch is there. @returns Undefined when the producer has failed. */
  take(): Float32Array | undefined {
    const next = this.#release();
    const started = performance.now();
    while (Atomics.load(this.#control, PRODUCED) === next) {
      if (this.#failed) return undefined;
      Atomics.wait(this.#control, PRODUCED, next);
    }
    return this.#hold(next, started);
  }

  /** Whether a batch lies ready. */
  get ready(): boolean {
    const ahead = Atomics.load(this.#control, PRODUCED) - Atomics.load(this.#control, TAKEN);
    return ahead > Number(this.#holding) || this.#failed;
  }

  /** As {@link take}, for threads that must not block. @throws The signal's reason when it aborts. */
  async takeAsync(signal?: AbortSignal): Promise<Float32Array | undefined> {
    signal?.throwIfAborted();
    const next = this.#release();
    const started = performance.now();
    const wake = (): void => void Atomics.notify(this.#control, PRODUCED);
    signal?.addEventListener("abort", wake, { once: true });
    try {
      while (Atomics.load(this.#control, PRODUCED) === next) {
        if (this.#failed) return undefined;
        const waiting = Atomics.waitAsync(this.#control, PRODUCED, next);
        if (waiting.async) await waiting.value;
        signal?.throwIfAborted();
      }
    } finally {
      signal?.removeEventListener("abort", wake);
    }
    return this.#hold(next, started);
  }

  /** Tells the producer to end. */
  stop(): void {
    Atomics.store(this.#control, STOPPED, 1);
    Atomics.add(this.#control, TAKEN, this.#memory.slots);
    Atomics.notify(this.#control, TAKEN);
  }

  get #failed(): boolean {
    return Atomics.load(this.#control, FAILED) !== 0;
  }

  #release(): number {
    if (this.#holding) {
      Atomics.add(this.#control, TAKEN, 1);
      Atomics.notify(this.#control, TAKEN);
      this.#holding = false;
    }
    return Atomics.load(this.#control, TAKEN);
  }

  #hold(next: number, started: number): Float32Array {
    this.#holding = true;
    this.#waitedMs += performance.now() - started;
    return slotView(this.#memory, next);
  }
}

function slotView(memory: RingMemory, ordinal: number): Float32Array {
  const size = memory.rows * memory.width;
  return new Float32Array(memory.data, (ordinal % memory.slots) * size * 4, size);
}
