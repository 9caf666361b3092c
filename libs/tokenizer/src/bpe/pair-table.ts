/** Fields of one entry: left id + 1 (0: free), right id, rank, merged id. */
const STRIDE = 4;

/**
 * Which neighbouring tokens merge into which, and in what order: a hash table with open addressing in one array of
 * shared memory, so that a thread that encodes gets it without a copy.
 */
export class PairTable {
  /** What to hand to another thread. */
  readonly entries: Int32Array;
  readonly #mask: number;

  constructor(entries: Int32Array) {
    this.entries = entries;
    this.#mask = entries.length / STRIDE - 1;
  }

  /** Where the pair stands, for `rankAt` and `mergedAt`; -1 when these two never merge. Negative ids never do. */
  find(left: number, right: number): number {
    if (left < 0) return -1;
    const { entries } = this;
    const key = left + 1;
    for (let slot = hash(left, right) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * STRIDE;
      const found = entries[at]!;
      if (found === 0) return -1;
      if (found === key && entries[at + 1] === right) return at;
    }
  }

  /** Lower merges first. */
  rankAt(at: number): number {
    return this.entries[at + 2]!;
  }

  mergedAt(at: number): number {
    return this.entries[at + 3]!;
  }
}

/** Collects pairs; of a pair given twice the last counts. */
export class PairTableBuilder {
  #pairs = new Int32Array(1 << 12);
  #length = 0;

  add(left: number, right: number, rank: number, merged: number): void {
    if (this.#length === this.#pairs.length) {
      const grown = new Int32Array(2 * this.#length);
      grown.set(this.#pairs);
      this.#pairs = grown;
    }
    this.#pairs[this.#length++] = left;
    this.#pairs[this.#length++] = right;
    this.#pairs[this.#length++] = rank;
    this.#pairs[this.#length++] = merged;
  }

  build(): PairTable {
    let capacity = 8;
    while (capacity < (2 * this.#length) / STRIDE) capacity *= 2;
    const entries = new Int32Array(new SharedArrayBuffer(capacity * STRIDE * Int32Array.BYTES_PER_ELEMENT));
    const mask = capacity - 1;
    for (let i = 0; i < this.#length; i += STRIDE) {
      const key = this.#pairs[i]! + 1;
      const right = this.#pairs[i + 1]!;
      let at = (hash(key - 1, right) & mask) * STRIDE;
      while (entries[at] !== 0 && !(entries[at] === key && entries[at + 1] === right)) at = (at + STRIDE) & (mask * STRIDE + STRIDE - 1);
      entries[at] = key;
      entries[at + 1] = right;
      entries[at + 2] = this.#pairs[i + 2]!;
      entries[at + 3] = this.#pairs[i + 3]!;
    }
    return new PairTable(entries);
  }
}

function hash(left: number, right: number): number {
  const mixed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
