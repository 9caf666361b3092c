/** The memory for keys and values is spent; freeing slots helps. */
export class CacheFullError extends Error {
  override readonly name = "CacheFullError";
  /** Bytes in use. */
  readonly used: number;
  /** Bytes allowed. */
  readonly budget: number;
  /** Bytes asked for. */
  readonly wanted: number;

  constructor(used: number, budget: number, wanted: number) {
    super(`the key-value cache is full: ${used} of ${budget} bytes in use, ${wanted} more wanted; free slots or raise cacheBytes`);
    this.used = used;
    this.budget = budget;
    this.wanted = wanted;
  }
}
