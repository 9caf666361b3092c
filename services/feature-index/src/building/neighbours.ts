/** Rows that point most the same way as one row. */
export interface Neighbours {
  readonly features: readonly number[];
  /** Cosine with each, largest first. */
  readonly cosines: readonly number[];
}

/** Multiply-adds that comparing all rows with one another may cost; beyond it neighbours are asked for one by one. */
const MOST_WORK = 2 ** 34;

/** Whether all rows of a decoder are compared when an index is built. */
export function comparesAll(dSae: number, dIn: number): boolean {
  return dSae * dSae * dIn <= MOST_WORK;
}

/** Scales each row of `rows` ([n, width], in place) to length 1 and returns the lengths; rows of zeros stay. */
export function normalise(rows: Float32Array, width: number): Float32Array {
  const norms = new Float32Array(rows.length / width);
  for (let row = 0; row < norms.length; row++) {
    const values = rows.subarray(row * width, (row + 1) * width);
    let sum = 0;
    for (let i = 0; i < width; i++) sum += (values[i] as number) ** 2;
    const norm = Math.sqrt(sum);
    norms[row] = norm;
    if (norm > 0) for (let i = 0; i < width; i++) values[i]! /= norm;
  }
  return norms;
}

// Rows compared at a time, so that both sides stay in the cache.
const TILE = 32;

/** The `topK` nearest of rows `start` up to `end` among all unit rows; of equal cosines the lower index first. */
export function nearestRows(units: Float32Array, width: number, start: number, end: number, topK: number): Neighbours[] {
  const n = units.length / width;
  const found = Array.from({ length: end - start }, () => ({ features: [] as number[], cosines: [] as number[] }));
  for (let other = 0; other < n; other += TILE) {
    for (let row = start; row < end; row++) {
      const best = found[row - start] as { features: number[]; cosines: number[] };
      for (let candidate = other; candidate < Math.min(other + TILE, n); candidate++) {
        if (candidate !== row) insert(best, candidate, dot(units, row * width, candidate * width, width), topK);
      }
    }
  }
  return found;
}

function insert(best: { features: number[]; cosines: number[] }, feature: number, cosine: number, topK: number): void {
  const { features, cosines } = best;
  if (cosines.length === topK && cosine <= (cosines[topK - 1] as number)) return;
  let at = cosines.length;
  while (at > 0 && (cosines[at - 1] as number) < cosine) at -= 1;
  features.splice(at, 0, feature);
  cosines.splice(at, 0, cosine);
  if (cosines.length > topK) {
    features.pop();
    cosines.pop();
  }
}

/** In four running sums, which the processor adds up side by side. */
function dot(values: Float32Array, a: number, b: number, width: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = 0;
  for (; i + 4 <= width; i += 4) {
    s0 += (values[a + i] as number) * (values[b + i] as number);
    s1 += (values[a + i + 1] as number) * (values[b + i + 1] as number);
    s2 += (values[a + i + 2] as number) * (values[b + i + 2] as number);
    s3 += (values[a + i + 3] as number) * (values[b + i + 3] as number);
  }
  for (; i < width; i++) s0 += (values[a + i] as number) * (values[b + i] as number);
  return s0 + s1 + s2 + s3;
}
