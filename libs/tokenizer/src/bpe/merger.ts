import type { PairTable } from "./pair-table.ts";

/** Up to this length a scan for the lowest rank beats keeping a heap. */
const SCANNED = 64;
/** A heap's key is rank * POSITIONS + position: the lowest rank first, the leftmost of equals. */
const POSITIONS = 2 ** 28;
const NEVER = 0x7fffffff;

/**
 * Byte-pair encoding of one word: again and again merges the neighbours of lowest rank, the leftmost first, until none
 * merge. n log n in the word's length.
 */
export class Merger {
  /** The word's symbols going in, its tokens coming out. */
  ids: Int32Array;
  /** How many symbols each token has taken in; valid after `merge`. */
  sizes: Int32Array;
  readonly #pairs: PairTable;
  #ranks: Int32Array;
  #before: Int32Array = new Int32Array(0);
  #heap: Float64Array = new Float64Array(0);
  #heaped = 0;

  constructor(pairs: PairTable) {
    this.#pairs = pairs;
    this.ids = new Int32Array(SCANNED);
    this.sizes = new Int32Array(SCANNED);
    this.#ranks = new Int32Array(SCANNED);
  }

  /** Makes room for words of `length` symbols; what `ids` holds is kept. */
  reserve(length: number): void {
    if (length <= this.ids.length) return;
    const room = Math.max(length, 2 * this.ids.length);
    const ids = new Int32Array(room);
    ids.set(this.ids);
    this.ids = ids;
    this.sizes = new Int32Array(room);
    this.#ranks = new Int32Array(room);
  }

  /** Gives back the room that one giant word took. */
  release(): void {
    if (this.ids.length <= 1 << 16) return;
    this.ids = new Int32Array(SCANNED);
    this.sizes = new Int32Array(SCANNED);
    this.#ranks = new Int32Array(SCANNED);
    this.#before = new Int32Array(0);
    this.#heap = new Float64Array(0);
  }

  /** Merges the first `length` of `ids` in place and returns how many tokens are left. */
  merge(length: number): number {
    this.sizes.fill(1, 0, length);
    if (length < 2) return length;
    return length <= SCANNED ? this.#scan(length) : this.#drain(length);
  }

  #rank(left: number, right: number): number {
    const at = this.#pairs.find(left, right);
    return at < 0 ? NEVER : this.#pairs.rankAt(at);
  }

  #merged(left: number, right: number): number {
    return this.#pairs.mergedAt(this.#pairs.find(left, right));
  }

  #scan(length: number): number {
    const { ids, sizes } = this;
    const ranks = this.#ranks;
    for (let i = 0; i + 1 < length; i++) ranks[i] = this.#rank(ids[i]!, ids[i + 1]!);
    for (;;) {
      let lowest = NEVER;
      let at = -1;
      for (let i = 0; i + 1 < length; i++) {
        if (ranks[i]! < lowest) {
          lowest = ranks[i]!;
          at = i;
        }
      }
      if (at < 0) return length;
      ids[at] = this.#merged(ids[at]!, ids[at + 1]!);
      sizes[at] = sizes[at]! + sizes[at + 1]!;
      length--;
      for (let i = at + 1; i < length; i++) {
        ids[i] = ids[i + 1]!;
        sizes[i] = sizes[i + 1]!;
        ranks[i] = ranks[i + 1]!;
      }
      if (at > 0) ranks[at - 1] = this.#rank(ids[at - 1]!, ids[at]!);
      if (at + 1 < length) ranks[at] = this.#rank(ids[at]!, ids[at + 1]!);
    }
  }

  /** The same over a list linked by sizes, with a heap of what can merge; entries that became stale are passed over. */
  #drain(length: number): number {
    const { ids, sizes } = this;
    const ranks = this.#ranks;
    if (this.#before.length < length) this.#before = new Int32Array(length);
    const before = this.#before;
    this.#heaped = 0;
    for (let i = 0; i < length; i++) {
      before[i] = i - 1;
      ranks[i] = i + 1 < length ? this.#rank(ids[i]!, ids[i + 1]!) : NEVER;
      if (ranks[i] !== NEVER) this.#push(ranks[i]! * POSITIONS + i);
    }
    while (this.#heaped > 0) {
      const key = this.#pop();
      const at = key % POSITIONS;
      // Sizes are 0 where a symbol was taken in.
      if (sizes[at] === 0 || ranks[at] !== Math.floor(key / POSITIONS)) continue;
      const right = at + sizes[at]!;
      ids[at] = this.#merged(ids[at]!, ids[right]!);
      sizes[at] = sizes[at]! + sizes[right]!;
      sizes[right] = 0;
      const after = at + sizes[at]!;
      if (after < length) before[after] = at;
      ranks[at] = after < length ? this.#rank(ids[at]!, ids[after]!) : NEVER;
      if (ranks[at] !== NEVER) this.#push(ranks[at]! * POSITIONS + at);
      const left = before[at]!;
      if (left >= 0) {
        ranks[left] = this.#rank(ids[left]!, ids[at]!);
        if (ranks[left] !== NEVER) this.#push(ranks[left]! * POSITIONS + left);
      }
    }
    let count = 0;
    for (let i = 0; i < length; count++) {
      const size = sizes[i]!;
      ids[count] = ids[i]!;
      sizes[count] = size;
      i += size;
    }
    return count;
  }

  #push(key: number): void {
    if (this.#heaped === this.#heap.length) {
      const grown = new Float64Array(Math.max(1024, 2 * this.#heap.length));
      grown.set(this.#heap);
      this.#heap = grown;
    }
    const heap = this.#heap;
    let at = this.#heaped++;
    for (let parent = (at - 1) >> 1; at > 0 && heap[parent]! > key; parent = (at - 1) >> 1) {
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = key;
  }

  #pop(): number {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap[--this.#heaped]!;
    let at = 0;
    for (let child = 1; child < this.#heaped; child = 2 * at + 1) {
      if (child + 1 < this.#heaped && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}
