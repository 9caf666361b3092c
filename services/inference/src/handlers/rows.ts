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
