import type { Normalization } from "../formats/config.ts";

/** What a reconstruction needs of each row: output = decoded × scale + shift, which undoes the normalisation, plus the skip term. */
export interface RowStats {
  readonly scale: Float32Array;
  readonly shift: Float32Array;
  /** The raw rows [n, d_in] that were encoded, for a skip connection: a view of the caller's. */
  readonly input?: Float32Array | undefined;
}

export function newRowStats(rows: number): RowStats {
  return { scale: new Float32Array(rows).fill(1), shift: new Float32Array(rows) };
}

// SAELens adds this to the standard deviation, and leaves it out on the way back.
const LAYER_NORM_EPSILON = 1e-5;

/**
 * Normalises `rows` rows of `x` [rows, width] into `target` (which may be `x`) and notes in `stats` how to undo it.
 *
 * layer_norm: c = x - mean, std = √(Σc²/(width - 1)), c/(std + 1e-5); back × std + mean (SAELens' form, which is not the usual LayerNorm).
 * constant_norm_rescale: x·√width/‖x‖; a zero row stays zero.
 */
export function normalizeRows(kind: Normalization, x: Float32Array, width: number, target: Float32Array, stats: RowStats): void {
  const rows = x.length / width;
  if (kind === "none") {
    if (target !== x) target.set(x);
    stats.scale.fill(1, 0, rows);
    stats.shift.fill(0, 0, rows);
    return;
  }
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    if (kind === "layer_norm") layerNorm(x, start, width, target, stats, row);
    else rescale(x, start, width, target, stats, row);
  }
}

function layerNorm(x: Float32Array, start: number, width: number, target: Float32Array, stats: RowStats, row: number): void {
  const end = start + width;
  let sum = 0;
  for (let i = start; i < end; i++) sum += x[i]!;
  const mean = sum / width;
  let squares = 0;
  for (let i = start; i < end; i++) squares += (x[i]! - mean) ** 2;
  const std = Math.sqrt(squares / (width - 1));
  const factor = 1 / (std + LAYER_NORM_EPSILON);
  for (let i = start; i < end; i++) target[i] = (x[i]! - mean) * factor;
  stats.scale[row] = std;
  stats.shift[row] = mean;
}

function rescale(x: Float32Array, start: number, width: number, target: Float32Array, stats: RowStats, row: number): void {
  const end = start + width;
  let squares = 0;
  for (let i = start; i < end; i++) squares += x[i]! * x[i]!;
  const norm = Math.sqrt(squares);
  const factor = norm === 0 ? 0 : Math.sqrt(width) / norm;
  for (let i = start; i < end; i++) target[i] = x[i]! * factor;
  stats.scale[row] = norm / Math.sqrt(width);
  stats.shift[row] = 0;
}

/** Undoes the normalisation of `rows` [n, width] in place. */
export function denormalizeRows(rows: Float32Array, width: number, stats: RowStats): void {
  for (let at = 0, row = 0; at < rows.length; row++) {
    const scale = stats.scale[row]!;
    const shift = stats.shift[row]!;
    if (scale === 1 && shift === 0) {
      at += width;
      continue;
    }
    for (const end = at + width; at < end; at++) rows[at] = rows[at]! * scale + shift;
  }
}
