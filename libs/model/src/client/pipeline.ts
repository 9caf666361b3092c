/** Batches under way at once: one that runs and one that waits, so that the engine never idles between them. */
const ahead = 2;

/**
 * Starts jobs in order, a few ahead of the consumer, and yields their results in order. Ends with the first error;
 * when the consumer stops early or a job fails, the jobs still waiting are aborted through their signal.
 */
export async function* pipeline<T>(jobs: readonly ((signal: AbortSignal) => Promise<T>)[], signal: AbortSignal | undefined): AsyncGenerator<T, void, undefined> {
  const stop = new AbortController();
  const combined = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const running: Promise<T>[] = [];
  const start = (index: number): void => {
    const job = jobs[index];
    if (job === undefined) return;
    const result = job(combined);
    // Seen here so that a failure behind the one being awaited is not an unhandled rejection.
    result.catch(() => undefined);
    running.push(result);
  };
  try {
    for (let next = 0; next < ahead; next++) start(next);
    for (let i = 0; i < jobs.length; i++) {
      const result = await running[i]!;
      start(i + ahead);
      yield result;
    }
  } finally {
    stop.abort();
  }
}
