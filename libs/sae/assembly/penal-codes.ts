import { activate, beginLatent, beginStep, gated, lowest, LP, penalty, penaltyOf, threshold } from "./penal-formula";
import { dot } from "./vector";

// Pre-activations lie by latent, [h, rows]: `pre` holds those of latent f from f·rows on.

// @ts-ignore: decorator
@inline
function increment(counters: usize, i: u32): u32 {
  const at = counters + ((<usize>i) << 2);
  const value = load<u32>(at);
  store<u32>(at, value + 1);
  return value;
}

/** Bits of the up to four pre-activations from row b on that are above the limit. */
// @ts-ignore: decorator
@inline
function above(row: usize, b: i32, rows: i32, limit: v128): i32 {
  if (b + 4 <= rows) return i32x4.bitmask(f32x4.gt(v128.load(row + ((<usize>b) << 2)), limit));
  let mask = 0;
  for (let i = b; i < rows; i++) if (load<f32>(row + ((<usize>i) << 2)) > f32x4.extract_lane(limit, 0)) mask |= 1 << (i - b);
  return mask;
}

/**
 * Looks through the pre-activations of latents [f0, f1): writes ‖wDec[f]‖ to norms, the number of entries that matter to counts, and
 * adds 1 to rowCounts[b] for each active one. Returns how many matter.
 */
export function penalScan(block: usize, pre: usize, wEnc: usize, wDec: usize, vectors: usize, span: usize, norms: usize, counts: usize, rowCounts: usize, f0: i32, f1: i32, rows: i32, d: i32, width: usize, stride: usize): f64 {
  beginStep(block);
  let all: f64 = 0;
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    const decoder = wDec + <usize>f * stride;
    const norm = sqrt<f32>(dot(decoder, decoder, width));
    store<f32>(norms + at, norm);
    beginLatent(vectors + at, span, load<f32>(wEnc + <usize>f * stride + ((<usize>d) << 2)), norm);
    const row = pre + at * <usize>rows;
    const limit = f32x4.splat(lowest);
    let n: u32 = 0;
    for (let b = 0; b < rows; b += 4) {
      for (let mask = above(row, b, rows, limit); mask != 0; mask &= mask - 1) {
        const i = b + ctz(mask);
        n++;
        if (load<f32>(row + ((<usize>i) << 2)) > threshold) increment(rowCounts, i);
      }
    }
    store<u32>(counts + at, n);
    all += <f64>n;
  }
  return all;
}

/**
 * Lists the entries of latents [f0, f1). By latent, from entry offsets[f] on: f32 pre-activation, u32 row. By row, at the entry that
 * rowCursor[b] names next: value, gate (gated only) and latent of each active one. counts becomes the number of rows that fire.
 * Returns the sparsity loss without its coefficient; the p-th powers of a p-norm go to rowPowers [rows] instead.
 */
export function penalPlace(block: usize, pre: usize, wEnc: usize, vectors: usize, span: usize, norms: usize, offsets: usize, entries: usize, rowCursor: usize, vals: usize, gates: usize, idx: usize, counts: usize, rowPowers: usize, f0: i32, f1: i32, rows: i32, d: i32, stride: usize): f64 {
  beginStep(block);
  let loss: f64 = 0;
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    beginLatent(vectors + at, span, load<f32>(wEnc + <usize>f * stride + ((<usize>d) << 2)), load<f32>(norms + at));
    const row = pre + at * <usize>rows;
    const limit = f32x4.splat(lowest);
    let entry = entries + ((<usize>load<u32>(offsets + at)) << 3);
    let fired: u32 = 0;
    for (let b = 0; b < rows; b += 4) {
      for (let mask = above(row, b, rows, limit); mask != 0; mask &= mask - 1) {
        const i = b + ctz(mask);
        const p = load<f32>(row + ((<usize>i) << 2));
        store<f32>(entry, p);
        store<u32>(entry, i, 4);
        entry += 8;
        if (!(p > threshold)) continue;
        const value = activate(p);
        const place = (<usize>increment(rowCursor, i)) << 2;
        store<f32>(vals + place, value);
        if (gated) store<f32>(gates + place, p);
        store<u32>(idx + place, f);
        if (value > 0) fired++;
        loss += addPenalty(p, i, rowPowers);
      }
    }
    store<u32>(counts + at, fired);
  }
  return loss;
}

// @ts-ignore: decorator
@inline
function addPenalty(p: f32, row: i32, rowPowers: usize): f64 {
  const part = <f64>penaltyOf(p);
  if (penalty != LP) return part;
  const at = rowPowers + ((<usize>row) << 3);
  store<f64>(at, load<f64>(at) + part);
  return 0;
}

/**
 * Writes the values of latents [f0, f1) to codes, `codeRow` bytes a latent with latent `first` at the front: [rows] values, then,
 * gated only, [rows] gates. Counts and returns as {@link penalPlace} does.
 */
export function penalDense(block: usize, pre: usize, wEnc: usize, vectors: usize, span: usize, norms: usize, codes: usize, codeRow: usize, first: i32, counts: usize, rowPowers: usize, f0: i32, f1: i32, rows: i32, d: i32, stride: usize): f64 {
  beginStep(block);
  const gates = (<usize>rows) << 2;
  let loss: f64 = 0;
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    beginLatent(vectors + at, span, load<f32>(wEnc + <usize>f * stride + ((<usize>d) << 2)), load<f32>(norms + at));
    const row = pre + at * <usize>rows;
    const code = codes + <usize>(f - first) * codeRow;
    let fired: u32 = 0;
    for (let b = 0; b < rows; b++) {
      const o = (<usize>b) << 2;
      const p = load<f32>(row + o);
      const value = activate(p);
      store<f32>(code + o, value);
      if (gated) store<f32>(code + gates + o, max<f32>(0, p));
      if (value > 0) fired++;
      loss += addPenalty(p, b, rowPowers);
    }
    store<u32>(counts + at, fired);
  }
  return loss;
}
