/**
 * Reads a source up to `depth` items ahead of its reader, so that the next one is made while this one is sent.
 * Stops reading when the reader stops.
 */
export async function* ahead<T>(source: AsyncIterable<T>, depth: number): AsyncGenerator<T> {
  const iterator = source[Symbol.asyncIterator]();
  const pending: Promise<IteratorResult<T>>[] = [];
  const pull = () => {
    const next = iterator.next();
    // An error is met when its turn comes; until then it is not unhandled.
    next.catch(() => undefined);
    pending.push(next);
  };
  try {
    for (let i = 0; i <= depth; i++) pull();
    for (;;) {
      const result = await (pending.shift() as Promise<IteratorResult<T>>);
      if (result.done === true) return;
      pull();
      yield result.value;
    }
  } finally {
    iterator.return?.()?.catch(() => undefined);
  }
}

/**
 * Works on up to `depth` items at a time and gives the results in the order of the items. Takes an item from the
 * source only when there is room, so that a slow reader slows the source.
 */
export async function* inOrder<T, R>(source: AsyncIterable<T>, depth: number, work: (item: T) => Promise<R>): AsyncGenerator<R> {
  const iterator = source[Symbol.asyncIterator]();
  let pending: readonly Promise<R>[] = [];
  let reading: Promise<IteratorResult<T>> | undefined;
  let ended = false;
  try {
    for (;;) {
      if (!ended && reading === undefined && pending.length < depth) {
        reading = iterator.next();
        reading.catch(() => undefined);
      }
      const [first] = pending;
      if (first === undefined && reading === undefined) return;
      if (await readFirst(reading, first)) {
        const item = await (reading as Promise<IteratorResult<T>>);
        reading = undefined;
        if (item.done === true) {
          ended = true;
          continue;
        }
        const working = work(item.value);
        working.catch(() => undefined);
        pending = [...pending, working];
      } else {
        const result = await (first as Promise<R>);
        pending = pending.slice(1);
        yield result;
      }
    }
  } finally {
    // Not awaited: a source that waits for its peer would hold up the answer to it.
    iterator.return?.()?.catch(() => undefined);
  }
}

/** Whether the item arrives before the result is there. */
async function readFirst(reading: Promise<unknown> | undefined, result: Promise<unknown> | undefined): Promise<boolean> {
  if (reading === undefined) return false;
  if (result === undefined) return true;
  return Promise.race([result.then(() => false), reading.then(() => true)]);
}
