import { Reduction } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";

/** Rows [from, to). */
export interface RowRun {
  readonly from: number;
  readonly to: number;
}

/** Runs of the rows that a mask selects, all of them without one, each at most `most` long. */
export function* runsIn(mask: Uint8Array | undefined, rows: number, most: number): Generator<RowRun> {
  const selected = (row: number) => row < rows && (mask === undefined || mask[row] === 1);
  for (let from = 0; from < rows; ) {
    let to = from;
    while (to - from < most && selected(to)) to++;
    if (to > from) yield { from, to };
    from = Math.max(to, from + 1);
  }
}

/** The rows that a mask selects, one after another: new memory. */
export function gatherRows(all: Float32Array, mask: Uint8Array, width: number): Float32Array {
  let count = 0;
  for (const selected of mask) count += selected;
  const rows = new Float32Array(count * width);
  let at = 0;
  for (const [row, selected] of mask.entries()) {
    if (selected !== 1) continue;
    rows.set(all.subarray(row * width, (row + 1) * width), at);
    at += width;
  }
  return rows;
}

/** One row [width] for rows [n, width]; undefined for none. Means are summed in f64. */
export function reduceRows(rows: Float32Array, width: number, reduction: Reduction): Float32Array | undefined {
  const n = rows.length / width;
  if (n === 0) return undefined;
  if (reduction === Reduction.LAST) return rows.slice((n - 1) * width);
  const result = new Float64Array(width).fill(reduction === Reduction.MAX ? -Infinity : 0);
  for (let row = 0, at = 0; row < n; row++) {
    for (let d = 0; d < width; d++, at++) {
      const value = rows[at] as number;
      const before = result[d] as number;
      result[d] = reduction === Reduction.MAX ? Math.max(before, value) : before + value;
    }
  }
  return Float32Array.from(result, (value) => (reduction === Reduction.MAX ? value : value / n));
}
