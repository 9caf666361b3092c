/** Wakes those who wait for a change of something named. */
export class ChangeSignal {
  readonly #waiting = new Map<string, Set<() => void>>();

  notify(key: string): void {
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    for (const wake of waiting ?? []) wake();
  }

  notifyAll(): void {
    for (const key of this.#waiting.keys()) this.notify(key);
  }

  /** Resolves at the next change of `key`, or when the signal aborts. */
  async next(key: string, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting);
    waiting.add(resolve);
    const onAbort = (): void => resolve();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      waiting.delete(resolve);
    }
  }
}
