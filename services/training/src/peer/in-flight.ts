/**
 * Applies `work` to items with up to `limit` at a time and yields the results in the items' order. The source
 * is read as room becomes free. When one fails, the others are awaited and then its error is thrown.
 */
export async function* inFlight<T, R>(items: AsyncIterable<T>, limit: number, work: (item: T) => Promise<R>): AsyncIterable<R> {
  const source = items[Symbol.asyncIterator]();
  const pending: Promise<R>[] = [];
  let ended = false;
  try {
    while (!ended || pending.length > 0) {
      while (!ended && pending.length < limit) {
        const next = await source.next();
        if (next.done === true) ended = true;
        else {
          const result = work(next.value);
          result.catch(() => undefined);
          pending.push(result);
        }
      }
      const first = pending.shift();
      if (first !== undefined) yield await first;
    }
  } finally {
    await Promise.allSettled(pending);
    await source.return?.();
  }
}
