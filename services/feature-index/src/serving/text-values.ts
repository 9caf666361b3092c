import { rowBounds, type SparseRows } from "@mistral-sae/tensor";

/** How values over tokens become one. */
export type AggregateName = "max" | "mean" | "sum" | "count" | "last";

/** What each feature that fires on a text comes to. */
export interface TextValues {
  /** Each once, unordered. */
  readonly features: Uint32Array;
  /** One a feature. */
  readonly values: Float64Array;
}

/** A feature's firings on a text, in the order of the text. */
export interface TextFirings {
  readonly positions: number[];
  readonly values: number[];
}

/** What each feature comes to over these positions, which ascend. The mean is over all of them, silent ones included. */
export function aggregate(rows: SparseRows, positions: readonly number[], how: AggregateName): TextValues {
  // Where a feature stands among those found, from 1 on.
  const places = new Uint32Array(rows.dSae);
  const features = new Uint32Array(Math.min(rows.dSae, rows.indices.length));
  const values = new Float64Array(features.length);
  let n = 0;
  const last = positions.at(-1);
  for (const position of positions) {
    const [start, end] = rowBounds(rows, position);
    for (let pair = start; pair < end; pair++) {
      const feature = rows.indices[pair] as number;
      const value = rows.values[pair] as number;
      let place = places[feature] as number;
      if (place === 0) {
        places[feature] = place = ++n;
        features[place - 1] = feature;
      }
      if (how === "max") values[place - 1] = Math.max(values[place - 1] as number, value);
      else if (how === "count") values[place - 1]! += 1;
      else if (how !== "last") values[place - 1]! += value;
      else if (position === last) values[place - 1] = value;
    }
  }
  if (how === "mean") for (let i = 0; i < n; i++) values[i]! /= positions.length;
  return { features: features.subarray(0, n), values: values.subarray(0, n) };
}

/** Takes from each value what the feature comes to in `other`. */
export function subtract({ features, values }: TextValues, other: TextValues, dSae: number): void {
  const theirs = new Float64Array(dSae);
  for (const [i, feature] of other.features.entries()) theirs[feature] = other.values[i] as number;
  for (const [i, feature] of features.entries()) values[i]! -= theirs[feature] as number;
}

/** The places of the `n` largest values above 0 whose feature is kept, largest first, of equals the lower feature. */
export function strongest({ features, values }: TextValues, n: number, keep: (feature: number) => boolean): number[] {
  // A heap with the one to drop first at its root.
  const heap: number[] = [];
  const isWeaker = (a: number, b: number): boolean => {
    const difference = (values[a] as number) - (values[b] as number);
    return difference < 0 || (difference === 0 && (features[a] as number) > (features[b] as number));
  };
  const sink = (at: number): void => {
    for (let hole = at; ; ) {
      let least = hole;
      for (const child of [2 * hole + 1, 2 * hole + 2]) if (child < heap.length && isWeaker(heap[child] as number, heap[least] as number)) least = child;
      if (least === hole) return;
      [heap[hole], heap[least]] = [heap[least] as number, heap[hole] as number];
      hole = least;
    }
  };
  for (let place = 0; place < features.length; place++) {
    if ((values[place] as number) <= 0) continue;
    if (heap.length === n && !isWeaker(heap[0] as number, place)) continue;
    if (!keep(features[place] as number)) continue;
    if (heap.length < n) {
      heap.push(place);
      if (heap.length === n) for (let at = (n >> 1) - 1; at >= 0; at--) sink(at);
    } else {
      heap[0] = place;
      sink(0);
    }
  }
  return heap.sort((a, b) => (isWeaker(a, b) ? 1 : -1));
}

/** The firings of some features on these positions. */
export function firingsOf(rows: SparseRows, positions: readonly number[], features: readonly number[]): TextFirings[] {
  const places = new Uint32Array(rows.dSae);
  for (const [i, feature] of features.entries()) places[feature] = i + 1;
  const found = features.map((): TextFirings => ({ positions: [], values: [] }));
  for (const position of positions) {
    const [start, end] = rowBounds(rows, position);
    for (let pair = start; pair < end; pair++) {
      const place = places[rows.indices[pair] as number] as number;
      if (place === 0) continue;
      const firings = found[place - 1] as TextFirings;
      firings.positions.push(position);
      firings.values.push(rows.values[pair] as number);
    }
  }
  return found;
}
