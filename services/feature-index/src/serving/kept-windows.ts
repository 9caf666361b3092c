import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { CorpusRecord } from "../catalogue/records.ts";
import { readWindows, type StoredWindow } from "./windows.ts";

type Corpus = Pick<CorpusRecord, "corpusId" | "digest" | "source">;

// 32 MiB of them, about.
const KEPT_TOKENS = 4 << 20;

/** Windows by number, those that pages showed last from memory. */
export class KeptWindows {
  readonly #clickhouse: ClickHouse;
  readonly #keptTokens: number;
  /** A number for each corpus, which is what its text is: another may get its number after a restore. */
  readonly #corpora = new Map<string, number>();
  /** By corpus and number, the one that was wanted longest ago first. */
  readonly #windows = new Map<number, StoredWindow>();
  #tokens = 0;

  constructor(clickhouse: ClickHouse, keptTokens = KEPT_TOKENS) {
    this.#clickhouse = clickhouse;
    this.#keptTokens = keptTokens;
  }

  async read(corpus: Corpus, sequences: Iterable<number>): Promise<ReadonlyMap<number, StoredWindow>> {
    const first = this.#numberOf(corpus) * 2 ** 32;
    const found = new Map<number, StoredWindow>();
    const missing = new Set<number>();
    for (const sequence of sequences) {
      const window = this.#windows.get(first + sequence);
      if (window === undefined) {
        missing.add(sequence);
        continue;
      }
      this.#windows.delete(first + sequence);
      this.#windows.set(first + sequence, window);
      found.set(sequence, window);
    }
    if (missing.size === 0) return found;
    for (const [sequence, window] of await readWindows(this.#clickhouse, corpus, [...missing])) {
      found.set(sequence, window);
      if (!this.#windows.has(first + sequence)) this.#tokens += window.tokens.length;
      this.#windows.set(first + sequence, window);
    }
    this.#forget();
    return found;
  }

  #numberOf({ corpusId, digest }: Corpus): number {
    const key = `${corpusId}/${digest}`;
    const number = this.#corpora.get(key) ?? this.#corpora.size;
    this.#corpora.set(key, number);
    return number;
  }

  #forget(): void {
    for (const [key, { tokens }] of this.#windows) {
      if (this.#tokens <= this.#keptTokens) return;
      this.#windows.delete(key);
      this.#tokens -= tokens.length;
    }
  }
}
