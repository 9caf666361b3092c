/** How rows are put into an SAE's input space: row = scale · normalised + shift. */
export type InputNormalisation = "none" | "layer_norm" | "constant_norm_rescale";

/** Rows in an SAE's input space, and what undoes it. */
export interface NormalisedRows {
  /** [n, d] */
  readonly rows: Float32Array;
  /** [n] sd of each row; absent: 1. */
  readonly scale?: Float32Array;
  /** [n] mean of each row; absent: 0. */
  readonly shift?: Float32Array;
}

/** What undoes the normalisation of one row. */
export interface RowScale {
  scale: number;
  shift: number;
}

/**
 * SAELens' `normalize_activations` on `n` rows of width `d`; `rows` is left as it is, and is the result for "none".
 * layer_norm takes the unbiased deviation and adds 1e-5 to it when dividing, not when undoing; constant_norm_rescale
 * gives every row the length √d. A row of zeros stays zeros.
 */
export function normalise(rows: Float32Array, n: number, d: number, kind: InputNormalisation): NormalisedRows {
  if (kind === "none") return { rows };
  const out = new Float32Array(n * d);
  const scale = new Float32Array(n);
  const shift = new Float32Array(n);
  const undo: RowScale = { scale: 1, shift: 0 };
  for (let r = 0; r < n; r++) {
    normaliseRow(rows, r * d, kind, out.subarray(r * d, (r + 1) * d), undo);
    scale[r] = undo.scale;
    shift[r] = undo.shift;
  }
  return { rows: out, scale, shift };
}

/** One row x[at, at + out.length) of {@link normalise}. Allocates nothing. */
export function normaliseRow(x: Float32Array, at: number, kind: InputNormalisation, out: Float32Array, undo: RowScale): void {
  const d = out.length;
  if (kind === "none") {
    for (let i = 0; i < d; i++) out[i] = x[at + i]!;
    undo.scale = 1;
    undo.shift = 0;
    return;
  }
  let mean = 0;
  if (kind === "layer_norm") {
    for (let i = 0; i < d; i++) mean += x[at + i]!;
    mean /= d;
  }
  let squares = 0;
  for (let i = 0; i < d; i++) squares += (x[at + i]! - mean) ** 2;
  const deviation = Math.sqrt(squares / (kind === "layer_norm" ? d - 1 : d));
  const divisor = kind === "layer_norm" ? deviation + 1e-5 : deviation;
  const factor = divisor === 0 ? 0 : 1 / divisor;
  for (let i = 0; i < d; i++) out[i] = (x[at + i]! - mean) * factor;
  undo.scale = deviation;
  undo.shift = mean;
}
