import type { Engine, SlotId } from "@mistral-sae/model";

/** A slot whose keys and values others may start from. */
export interface Prefix {
  readonly slot: SlotId;
  /** Tokens that no edit has touched, from the first on; the engine itself compares with what the slot holds. */
  tokens: Uint32Array;
  /** Memory that the cache answers for: none while the slot's generation runs. */
  bytes: number;
  /** Whether the slot belongs to the cache. */
  idle: boolean;
  /** Prefills that are copying from it. */
  pins: number;
  /** Freed as soon as nobody copies from it. */
  doomed: boolean;
}

/** Shorter prefixes are not worth the copy. */
const LEAST_TOKENS = 16;
/** Slots kept at most: each lengthens the search. */
const MOST_KEPT = 256;

/**
 * Prefixes of unedited sequences, shared between requests: of generations under way, and of those that have ended, whose
 * slots are kept until the memory is wanted, the one used last longest. What a prompt shares is copied and not run.
 */
export class PrefixCache {
  readonly #engine: Pick<Engine, "cacheBytesOf" | "free">;
  /** By their first tokens. */
  readonly #byStart = new Map<string, Set<Prefix>>();
  /** Those that belong to the cache, the one used last at the end. */
  readonly #idle = new Set<Prefix>();
  #bytes = 0;

  constructor(engine: Pick<Engine, "cacheBytesOf" | "free">) {
    this.#engine = engine;
  }

  /** Memory of the slots that are kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Slots that are kept. */
  get size(): number {
    return this.#idle.size;
  }

  /** The prefix that shares most with a prompt. It stays until `unpin`. */
  find(prompt: Uint32Array): Prefix | undefined {
    let best: Prefix | undefined;
    let most = LEAST_TOKENS - 1;
    for (const prefix of this.#byStart.get(startOf(prompt)) ?? []) {
      const shared = commonLength(prompt, prefix.tokens);
      if (shared > most && !prefix.doomed) [best, most] = [prefix, shared];
    }
    if (best === undefined) return undefined;
    best.pins++;
    this.#touch(best);
    return best;
  }

  unpin(prefix: Prefix): void {
    prefix.pins--;
    if (prefix.doomed && prefix.pins === 0) this.#free(prefix);
  }

  /** Lets others start from a slot whose generation goes on. Undefined when it is too short for that. */
  offer(slot: SlotId, tokens: Uint32Array): Prefix | undefined {
    if (tokens.length < LEAST_TOKENS) return undefined;
    const prefix: Prefix = { slot, tokens, bytes: 0, idle: false, pins: 0, doomed: false };
    const start = startOf(tokens);
    const known = this.#byStart.get(start) ?? new Set();
    this.#byStart.set(start, known);
    known.add(prefix);
    return prefix;
  }

  /** Takes over the slot of a generation that has ended, with all tokens it has read. */
  keep(prefix: Prefix, tokens: Uint32Array): void {
    prefix.tokens = tokens;
    for (const other of this.#byStart.get(startOf(tokens)) ?? []) {
      if (!other.idle || other.doomed) continue;
      const shared = commonLength(tokens, other.tokens);
      if (shared === tokens.length) {
        this.#touch(other);
        this.release(prefix);
        return;
      }
      if (shared === other.tokens.length) this.release(other);
    }
    prefix.idle = true;
    prefix.bytes = this.#engine.cacheBytesOf(tokens.length);
    this.#bytes += prefix.bytes;
    this.#idle.add(prefix);
    while (this.#idle.size > MOST_KEPT && this.evict());
  }

  /** Gives a slot back, once nobody copies from it. */
  release(prefix: Prefix): void {
    const start = startOf(prefix.tokens);
    const known = this.#byStart.get(start);
    known?.delete(prefix);
    if (known?.size === 0) this.#byStart.delete(start);
    if (this.#idle.delete(prefix)) this.#bytes -= prefix.bytes;
    prefix.doomed = true;
    if (prefix.pins === 0) this.#free(prefix);
  }

  /** Gives back the slot unused for longest. Returns whether there was one that nobody copies from. */
  evict(): boolean {
    for (const prefix of this.#idle) {
      if (prefix.pins > 0) continue;
      this.release(prefix);
      return true;
    }
    return false;
  }

  #touch(prefix: Prefix): void {
    if (this.#idle.delete(prefix)) this.#idle.add(prefix);
  }

  #free({ slot }: Prefix): void {
    this.#engine.free([slot]).catch(() => undefined);
  }
}

function startOf(tokens: Uint32Array): string {
  return tokens.subarray(0, LEAST_TOKENS).join();
}

function commonLength(a: Uint32Array, b: Uint32Array): number {
  const most = Math.min(a.length, b.length);
  let i = 0;
  while (i < most && a[i] === b[i]) i++;
  return i;
}
