import { BLOCK_POSITIONS } from "../blocks/block-layout.ts";

/** Memory for the codes of one block; shared, so that a worker sorts it where it lies. */
export interface CodeMemory {
  indices: Uint32Array;
  /** bfloat16 bits. */
  acts: Uint16Array;
  /** One a token, and the end. */
  readonly rowOffsets: Uint32Array;
}

const BYTES_A_PAIR = 6;
const KEPT = 4;

/**
 * Memory of the blocks that are being filled and stored: used again from block to block, and bounded. Who asks for more
 * than is left waits, and with it the stream that it reads.
 */
export class IngestMemory {
  readonly #mostBytes: number;
  readonly #free: CodeMemory[] = [];
  readonly #waiting: (() => void)[] = [];
  #usedBytes = 0;

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Memory for about so many pairs; at once where nothing is in use. */
  async take(pairs: number, signal: AbortSignal): Promise<CodeMemory> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#usedBytes === 0 || this.#usedBytes + pairs * BYTES_A_PAIR <= this.#mostBytes) break;
      await this.#change(signal);
    }
    const at = this.#free.findIndex(({ indices }) => indices.length >= pairs);
    const memory = (at < 0 ? undefined : this.#free.splice(at, 1)[0]) ?? newMemory(pairs);
    this.#usedBytes += bytesOf(memory);
    return memory;
  }

  /** Makes room for `pairs` in memory that holds `used` pairs; a block that is begun is never made to wait. */
  grow(memory: CodeMemory, used: number, pairs: number): void {
    if (pairs <= memory.indices.length) return;
    const before = bytesOf(memory);
    const { indices, acts } = newMemory(Math.max(pairs, Math.ceil(1.5 * memory.indices.length)));
    indices.set(memory.indices.subarray(0, used));
    acts.set(memory.acts.subarray(0, used));
    memory.indices = indices;
    memory.acts = acts;
    this.#usedBytes += bytesOf(memory) - before;
  }

  give(memory: CodeMemory): void {
    this.#usedBytes -= bytesOf(memory);
    if (this.#free.length === KEPT) this.#free.shift();
    this.#free.push(memory);
    for (const resume of this.#waiting.splice(0)) resume();
  }

  async #change(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const resume = () => {
        signal.removeEventListener("abort", resume);
        resolve();
      };
      signal.addEventListener("abort", resume, { once: true });
      this.#waiting.push(resume);
    });
  }
}

function newMemory(pairs: number): CodeMemory {
  return {
    indices: new Uint32Array(new SharedArrayBuffer(4 * pairs)),
    acts: new Uint16Array(new SharedArrayBuffer(2 * pairs)),
    rowOffsets: new Uint32Array(new SharedArrayBuffer(4 * (BLOCK_POSITIONS + 1))),
  };
}

function bytesOf({ indices, acts, rowOffsets }: CodeMemory): number {
  return indices.byteLength + acts.byteLength + rowOffsets.byteLength;
}
