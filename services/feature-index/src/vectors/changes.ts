import type { Freshness } from "./search-state.ts";

/** Counts what happens to the explanations of each SAE and their vectors, so that a search knows when to read them again. */
export class Changes {
  readonly #counts = new Map<number, { written: number; removed: number }>();
  #all = 0;

  /** Explanations or vectors were added. */
  written(saeId: number): void {
    this.#of(saeId).written += 1;
  }

  /** Some were taken away. */
  removed(saeId: number): void {
    this.#of(saeId).removed += 1;
  }

  /** Every table may hold something else now. */
  everything(): void {
    this.#all += 1;
  }

  of(saeId: number): Freshness {
    const { written, removed } = this.#of(saeId);
    return { written, removed: removed + this.#all };
  }

  #of(saeId: number): { written: number; removed: number } {
    let counts = this.#counts.get(saeId);
    if (counts === undefined) this.#counts.set(saeId, (counts = { written: 0, removed: 0 }));
    return counts;
  }
}
