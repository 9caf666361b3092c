/** Times of one thing, milliseconds, in the order they were taken. */
export interface Timing {
  readonly name: string;
  readonly p50: number;
  readonly p95: number;
  readonly n: number;
}

/** Value below which a share of the values lies. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Runs `work` for one item after the other. */
export async function timeEach<Item>(name: string, items: readonly Item[], work: (item: Item) => Promise<unknown>): Promise<Timing> {
  const times: number[] = [];
  for (const item of items) {
    const began = performance.now();
    await work(item);
    times.push(performance.now() - began);
  }
  return summary(name, times);
}

/** Runs `work` for all items, so many at a time; also how many were done in a second. */
export async function timeTogether<Item>(name: string, items: readonly Item[], clients: number, work: (item: Item, client: number) => Promise<unknown>): Promise<Timing & { readonly perSecond: number }> {
  const times: number[] = [];
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      for (let item = items[next++]; item !== undefined; item = items[next++]) {
        const start = performance.now();
        await work(item, client);
        times.push(performance.now() - start);
      }
    }),
  );
  return { ...summary(name, times), perSecond: (1000 * items.length) / (performance.now() - began) };
}

export function summary(name: string, times: readonly number[]): Timing {
  return { name, p50: percentile(times, 0.5), p95: percentile(times, 0.95), n: times.length };
}

/** Takes items in an order that a seed decides. */
export function shuffled<Item>(items: readonly Item[], random: (i: number) => number): Item[] {
  return items.map((item, i) => ({ item, key: random(i) })).sort((a, b) => a.key - b.key).map(({ item }) => item);
}
