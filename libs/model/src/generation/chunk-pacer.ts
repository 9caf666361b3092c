/** What prefill may do next. */
export interface Pace {
  /** Tokens of the next chunk at most. */
  readonly chunk: number;
  /** Whether decoding goes on beside it, so that the whole piece should be no larger than the chunk. */
  readonly interleaved: boolean;
}

/** A chunk when nothing is decoded: large enough to fill the matrix products, and what an abort waits for at most. */
const largest = 256;
/** Below this the products are no faster than single steps, so that nothing is gained by waiting less. */
const smallest = 16;
/** How long a chunk may hold up decoding where a step takes less. */
const patienceMs = 25;
/** How long an abort may wait for a chunk. */
const abortMs = 500;

/**
 * Sizes the chunks of prompts by what prefill and decoding are seen to take. While others decode, a chunk is to take no
 * longer than one of their steps, or 25 ms if that is more, and one step follows each chunk: so much later comes each of
 * their tokens, however long the prompt.
 */
export class ChunkPacer {
  #msPerToken: number | undefined;
  #stepMs = 0;
  #decodedSince = false;

  /** A decoding step took so long. */
  decoded(ms: number): void {
    this.#decodedSince = true;
    this.#stepMs = settle(this.#stepMs === 0 ? undefined : this.#stepMs, ms);
  }

  /** Prefill of so many tokens, padding included, took so long. */
  ran(tokens: number, ms: number): void {
    this.#msPerToken = settle(this.#msPerToken, ms / tokens);
  }

  /** The next chunk. Asking is taken for running it: decoding counts anew from here. */
  next(): Pace {
    const interleaved = this.#decodedSince;
    this.#decodedSince = false;
    const within = interleaved ? Math.max(patienceMs, this.#stepMs) : abortMs;
    const tokens = this.#msPerToken === undefined ? smallest * 4 : within / this.#msPerToken;
    return { chunk: Math.min(largest, Math.max(smallest, Math.floor(tokens / smallest) * smallest)), interleaved };
  }
}

/** Follows at once what gets faster and slowly what gets slower: one slow run, loading a session, says little. */
function settle(before: number | undefined, now: number): number {
  return before === undefined || now < before ? now : before + (now - before) * 0.2;
}
