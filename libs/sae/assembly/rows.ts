import { dots, errorRow, reconstruct } from "./decode";
import { addInto, horizontalSum, madd } from "./vector";

// Entries of a batch by row, as many in each as there are: those of row b lie at [bounds[2b], bounds[2b + 1]) of vals, idx and dz.

// @ts-ignore: decorator
@inline
function first(bounds: usize, b: i32): usize {
  return <usize>load<u32>(bounds + ((<usize>b) << 3));
}

// @ts-ignore: decorator
@inline
function last(bounds: usize, b: i32): usize {
  return <usize>load<u32>(bounds + ((<usize>b) << 3), 4);
}

/**
 * Makes such rows of rows [b0, b1) with room for k entries each: those other than zero move to the front of their row. `source` holds
 * the latents of each entry (`sourceRow` bytes a row, 0 when all rows share one list) and is copied to idx; it may be idx itself.
 */
export function boundRows(vals: usize, source: usize, sourceRow: usize, idx: usize, k: i32, bounds: usize, b0: i32, b1: i32): void {
  for (let b = b0; b < b1; b++) {
    const begin = <usize>b * <usize>k;
    const from = source + <usize>b * sourceRow;
    let n = begin;
    for (let j = 0; j < k; j++) {
      const value = load<f32>(vals + ((begin + <usize>j) << 2));
      if (value == 0) continue;
      store<f32>(vals + (n << 2), value);
      store<u32>(idx + (n << 2), load<u32>(from + ((<usize>j) << 2)));
      n++;
    }
    store<u32>(bounds + ((<usize>b) << 3), <u32>begin);
    store<u32>(bounds + ((<usize>b) << 3), <u32>n, 4);
  }
}

/** Rows [b0, b1) of the reconstruction: g = gScale·(z·wDec + bDec - target), dz = ⟨g, wDec⟩ of every entry, columns += g. Returns Σ error². */
export function decodeRows(vals: usize, idx: usize, bounds: usize, wDec: usize, bDec: usize, target: usize, g: usize, dz: usize, columns: usize, gScale: f32, b0: i32, b1: i32, width: usize, stride: usize): f64 {
  const scale = f32x4.splat(gScale);
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const at = first(bounds, b) << 2;
    const n = <i32>(last(bounds, b) - first(bounds, b));
    const row = g + <usize>b * stride;
    reconstruct(row, bDec, vals + at, idx + at, n, wDec, width, stride);
    loss += <f64>errorRow(row, target + <usize>b * stride, columns, scale, width);
    dots(row, idx + at, dz + at, n, wDec, width, stride);
  }
  return loss;
}

/**
 * Rows [b0, b1) of nested reconstructions: level l takes the latents below widths[l]. A row's entries rise in latent. With
 * g_l = gScale·(z·wDec[..widths[l]] + bDec - target), the matrix l of g (`levelBytes` apart) becomes the sum of g_l and all wider
 * levels, which is the gradient of what the latents of that level add; dz is taken with it. columns += the sum of all levels,
 * outerColumns += the widest one. squares[l] += Σ error² of each level, f64.
 */
export function decodeNested(vals: usize, idx: usize, bounds: usize, widths: usize, levels: i32, wDec: usize, bDec: usize, target: usize, g: usize, levelBytes: usize, dz: usize, columns: usize, outerColumns: usize, squares: usize, gScale: f32, b0: i32, b1: i32, width: usize, stride: usize): void {
  const scale = f32x4.splat(gScale);
  for (let b = b0; b < b1; b++) {
    const begin = first(bounds, b);
    const end = last(bounds, b);
    const row = g + <usize>b * stride;
    const t = target + <usize>b * stride;
    let base = bDec;
    let from = begin;
    for (let l = 0; l < levels; l++) {
      const to = levelEnd(idx, from, end, load<u32>(widths + ((<usize>l) << 2)));
      const out = row + <usize>l * levelBytes;
      reconstruct(out, base, vals + (from << 2), idx + (from << 2), <i32>(to - from), wDec, width, stride);
      base = out;
      from = to;
    }
    for (let l = levels - 1; l >= 0; l--) {
      const out = row + <usize>l * levelBytes;
      let s = f32x4.splat(0);
      for (let o: usize = 0; o < width; o += 16) {
        const e = f32x4.sub(v128.load(out + o), v128.load(t + o));
        s = madd(e, e, s);
        let ge = f32x4.mul(e, scale);
        if (l < levels - 1) ge = f32x4.add(ge, v128.load(out + levelBytes + o));
        v128.store(out + o, ge);
      }
      const q = squares + ((<usize>l) << 3);
      store<f64>(q, load<f64>(q) + <f64>horizontalSum(s));
    }
    addInto(row, columns, width);
    addInto(row + <usize>(levels - 1) * levelBytes, outerColumns, width);
    from = begin;
    for (let l = 0; l < levels; l++) {
      const to = levelEnd(idx, from, end, load<u32>(widths + ((<usize>l) << 2)));
      dots(row + <usize>l * levelBytes, idx + (from << 2), dz + (from << 2), <i32>(to - from), wDec, width, stride);
      from = to;
    }
  }
}

/** The first of entries [from, end) whose latent is not below `width`. */
// @ts-ignore: decorator
@inline
function levelEnd(idx: usize, from: usize, end: usize, width: u32): usize {
  let to = from;
  while (to < end && load<u32>(idx + (to << 2)) < width) to++;
  return to;
}

/**
 * Rows [b0, b1) of the auxiliary reconstruction of the residual e = -g/gScale: g2 = auxScale·(za·wDec - e), dz = ⟨g2, wDec⟩.
 * Returns Σ (ê - e)².
 */
export function decodeRowsAux(vals: usize, idx: usize, bounds: usize, wDec: usize, g: usize, g2: usize, dz: usize, inverseScale: f32, auxScale: f32, b0: i32, b1: i32, width: usize, stride: usize): f64 {
  const inverse = f32x4.splat(inverseScale);
  const scale = f32x4.splat(auxScale);
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const at = first(bounds, b) << 2;
    const n = <i32>(last(bounds, b) - first(bounds, b));
    const row = g2 + <usize>b * stride;
    const main = g + <usize>b * stride;
    reconstruct(row, 0, vals + at, idx + at, n, wDec, width, stride);
    let s = f32x4.splat(0);
    for (let o: usize = 0; o < width; o += 16) {
      const q = madd(v128.load(main + o), inverse, v128.load(row + o));
      s = madd(q, q, s);
      v128.store(row + o, f32x4.mul(q, scale));
    }
    loss += <f64>horizontalSum(s);
    dots(row, idx + at, dz + at, n, wDec, width, stride);
  }
  return loss;
}

/** counts[idx] += 1 for each entry of all rows; returns how many there are. */
export function countRows(idx: usize, bounds: usize, rows: i32, counts: usize): i32 {
  let n = 0;
  for (let b = 0; b < rows; b++) {
    const end = last(bounds, b);
    for (let p = first(bounds, b); p < end; p++, n++) {
      const c = counts + ((<usize>load<u32>(idx + (p << 2))) << 2);
      store<u32>(c, load<u32>(c) + 1);
    }
  }
  return n;
}

/**
 * Places the entries of all rows by latent, as placeEntries does. With more than one level the gradient of an entry is the row of
 * the matrix of its level: see decodeNested.
 */
export function placeRows(vals: usize, idx: usize, dz: usize, bounds: usize, rows: i32, widths: usize, levels: i32, g: usize, levelBytes: usize, centered: usize, stride: usize, cursor: usize, entries: usize): void {
  for (let b = 0; b < rows; b++) {
    let gRow = g + <usize>b * stride;
    const cRow = centered + <usize>b * stride;
    const end = last(bounds, b) << 2;
    let level = 0;
    for (let p = first(bounds, b) << 2; p < end; p += 4) {
      const latent = load<u32>(idx + p);
      for (; level < levels - 1 && latent >= load<u32>(widths + ((<usize>level) << 2)); level++) gRow += levelBytes;
      const c = cursor + ((<usize>latent) << 2);
      const at = load<u32>(c);
      store<u32>(c, at + 1);
      const e = entries + ((<usize>at) << 4);
      store<f32>(e, load<f32>(vals + p));
      store<f32>(e, load<f32>(dz + p), 4);
      store<u32>(e, <u32>gRow, 8);
      store<u32>(e, <u32>cRow, 12);
    }
  }
}
