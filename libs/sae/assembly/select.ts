// The largest values among all pre-activations of a batch. They lie in tiles of neighbouring latents, [batch, tile] each; the rows
// of a thread are one run of floats in every tile. Only positive values count, and those compare as their bits do.

/** First float of row `b` in the tile that starts at latent `f`, whose rows have `w` floats. */
// @ts-ignore: decorator
@inline
function tileRow(pre: usize, batch: i32, f: i32, w: i32, b: i32): usize {
  return pre + ((<usize>f * <usize>batch + <usize>b * <usize>w) << 2);
}

// @ts-ignore: decorator
@inline
function widthAt(f: i32, h: i32, tile: i32): i32 {
  return min(tile, h - f);
}

/** counts[b] = how many values of row b are at least `bound`, which is positive; returns their sum. */
export function countAbove(pre: usize, batch: i32, h: i32, tile: i32, bound: f32, counts: usize, b0: i32, b1: i32): i32 {
  const limit = f32x4.splat(bound);
  let all = 0;
  memory.fill(counts + ((<usize>b0) << 2), 0, (<usize>(b1 - b0)) << 2);
  for (let f = 0; f < h; f += tile) {
    const w = widthAt(f, h, tile);
    for (let b = b0; b < b1; b++) {
      let p = tileRow(pre, batch, f, w, b);
      const end = p + ((<usize>w) << 2);
      let lanes = i32x4.splat(0);
      for (; p + 16 <= end; p += 16) lanes = i32x4.sub(lanes, f32x4.ge(v128.load(p), limit));
      let n = i32x4.extract_lane(lanes, 0) + i32x4.extract_lane(lanes, 1) + i32x4.extract_lane(lanes, 2) + i32x4.extract_lane(lanes, 3);
      for (; p < end; p += 4) n += i32(load<f32>(p) >= bound);
      const c = counts + ((<usize>b) << 2);
      store<u32>(c, load<u32>(c) + n);
      all += n;
    }
  }
  return all;
}

/**
 * Writes the values of at least `bound` and their latents to vals and idx, every row from the first of its `bounds` on, in the order
 * of the latents. With `ties`, row b takes no more than ties[b] values that equal the bound.
 */
export function collectAbove(pre: usize, batch: i32, h: i32, tile: i32, bound: f32, bounds: usize, ties: usize, vals: usize, idx: usize, b0: i32, b1: i32): void {
  const limit = f32x4.splat(bound);
  for (let b = b0; b < b1; b++) {
    let at = (<usize>load<u32>(bounds + ((<usize>b) << 3))) << 2;
    let left = ties ? load<i32>(ties + ((<usize>b) << 2)) : i32.MAX_VALUE;
    for (let f = 0; f < h; f += tile) {
      const w = widthAt(f, h, tile);
      const row = tileRow(pre, batch, f, w, b);
      let i = 0;
      for (; i + 4 <= w; i += 4) {
        let mask = i32x4.bitmask(f32x4.ge(v128.load(row + ((<usize>i) << 2)), limit));
        for (; mask; mask &= mask - 1) {
          const j = i + ctz(mask);
          const value = load<f32>(row + ((<usize>j) << 2));
          if (value == bound && left-- <= 0) continue;
          store<f32>(vals + at, value);
          store<u32>(idx + at, f + j);
          at += 4;
        }
      }
      for (; i < w; i++) {
        const value = load<f32>(row + ((<usize>i) << 2));
        if (!(value >= bound) || (value == bound && left-- <= 0)) continue;
        store<f32>(vals + at, value);
        store<u32>(idx + at, f + i);
        at += 4;
      }
    }
  }
}

/** Adds n positive values to a histogram of their upper 16 bits, or, when `high` is one of these, of the lower ones of its values. */
export function histogram(values: usize, n: i32, high: i32, buckets: usize): void {
  for (let p = values, end = values + ((<usize>n) << 2); p < end; p += 4) {
    const bits = load<i32>(p);
    // Zero, negative values and NaN.
    if (bits <= 0 || bits > 0x7f800000) continue;
    if (high >= 0 && bits >> 16 != high) continue;
    const q = buckets + ((<usize>(high < 0 ? bits >> 16 : bits & 0xffff)) << 2);
    store<u32>(q, load<u32>(q) + 1);
  }
}

/** The same over rows [b0, b1) of all tiles. */
export function histogramRows(pre: usize, batch: i32, h: i32, tile: i32, high: i32, buckets: usize, b0: i32, b1: i32): void {
  for (let f = 0; f < h; f += tile) {
    const w = widthAt(f, h, tile);
    histogram(tileRow(pre, batch, f, w, b0), (b1 - b0) * w, high, buckets);
  }
}

/**
 * Keeps, of rows that lie one behind another, the values above `bound` and the first `ties` that equal it, and moves them together:
 * bounds, vals and idx are rewritten in place. Returns how many stay.
 */
export function trimRows(vals: usize, idx: usize, bounds: usize, bound: f32, ties: i32, rows: i32): i32 {
  let put: usize = 0;
  let left = ties;
  for (let b = 0; b < rows; b++) {
    const q = bounds + ((<usize>b) << 3);
    let p = (<usize>load<u32>(q)) << 2;
    const end = (<usize>load<u32>(q, 4)) << 2;
    store<u32>(q, <u32>(put >> 2));
    for (; p < end; p += 4) {
      const value = load<f32>(vals + p);
      if (!(value >= bound) || (value == bound && left-- <= 0)) continue;
      store<f32>(vals + put, value);
      store<u32>(idx + put, load<u32>(idx + p));
      put += 4;
    }
    store<u32>(q, <u32>(put >> 2), 4);
  }
  return <i32>(put >> 2);
}
