/** A feature and how well it matches, 0 to 1. */
export interface RankedFeature {
  readonly feature: number;
  readonly value: number;
}

/** A page of them, and how many there are in all. */
export interface Ranking {
  readonly hits: readonly RankedFeature[];
  readonly total: number;
}

/**
 * One ranking from two: `weight` of the text score and the rest of the cosine, each against the best one found, negative ones
 * being 0. A convex combination with the theoretical minimum: Bruch, Gai & Ingber, An Analysis of Fusion Functions for Hybrid
 * Retrieval (2023). Best first, then by index. Both [features].
 */
export function rankFeatures(text: Float64Array, cosine: Float64Array, weight: number, offset: number, limit: number): Ranking {
  const ofText = weight / (largest(text) || 1);
  const ofCosine = (1 - weight) / (largest(cosine) || 1);
  const values = new Float64Array(text.length);
  for (let feature = 0; feature < values.length; feature++) values[feature] = ofText * (text[feature] as number) + ofCosine * Math.max(0, cosine[feature] as number);
  const wanted = offset + limit;
  const best: number[] = [];
  let total = 0;
  // A heap of the best ones, the worst of them on top.
  const worse = (a: number, b: number): boolean => (values[a] as number) < (values[b] as number) || (values[a] === values[b] && a > b);
  for (let feature = 0; feature < values.length; feature++) {
    if (!((values[feature] as number) > 0)) continue;
    total += 1;
    if (best.length < wanted) rise(best, feature, worse);
    else if (worse(best[0] as number, feature)) sink(best, feature, worse);
  }
  const hits = best.sort((a, b) => (worse(a, b) ? 1 : -1)).slice(offset).map((feature) => ({ feature, value: values[feature] as number }));
  return { hits, total };
}

function largest(values: Float64Array): number {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

function rise(heap: number[], item: number, above: (a: number, b: number) => boolean): void {
  let at = heap.push(item) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!above(item, heap[parent] as number)) break;
    heap[at] = heap[parent] as number;
    at = parent;
  }
  heap[at] = item;
}

/** Replaces the top. */
function sink(heap: number[], item: number, above: (a: number, b: number) => boolean): void {
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && above(heap[child + 1] as number, heap[child] as number)) child += 1;
    if (!above(heap[child] as number, item)) break;
    heap[at] = heap[child] as number;
    at = child;
  }
  heap[at] = item;
}
