/** Values of a tile: see DeadThread. */
const tileLatents: i32 = 256;

/** How many of n values, in whole vectors, are above a positive threshold given by its bits. */
// @ts-ignore: decorator
@inline
function countOver(row: usize, bytes: usize, threshold: i32): i32 {
  const t = i32x4.splat(threshold);
  let c = i32x4.splat(0), d = c;
  let o: usize = 0;
  for (; o + 32 <= bytes; o += 32) {
    c = i32x4.sub(c, i32x4.gt_s(v128.load(row + o), t));
    d = i32x4.sub(d, i32x4.gt_s(v128.load(row + o, 16), t));
  }
  if (o < bytes) c = i32x4.sub(c, i32x4.gt_s(v128.load(row + o), t));
  c = i32x4.add(c, d);
  return i32x4.extract_lane(c, 0) + i32x4.extract_lane(c, 1) + i32x4.extract_lane(c, 2) + i32x4.extract_lane(c, 3);
}

/** Appends the values whose bits are above `low` and at most `high`, with their names, until there are k; returns how many there are. */
function collect(row: usize, bytes: usize, low: i32, high: i32, names: usize, vals: usize, idx: usize, size: i32, k: i32): i32 {
  const l = i32x4.splat(low), h = i32x4.splat(high);
  let n = size;
  for (let o: usize = 0; o < bytes; o += 16) {
    const v = v128.load(row + o);
    let hits = i32x4.bitmask(v128.and(i32x4.gt_s(v, l), i32x4.le_s(v, h)));
    while (hits != 0) {
      if (n == k) return n;
      const at = o + ((<usize>ctz<i32>(hits)) << 2);
      hits &= hits - 1;
      store<u32>(vals + ((<usize>n) << 2), load<u32>(row + at));
      store<u32>(idx + ((<usize>n) << 2), load<u32>(names + at));
      n++;
    }
  }
  return n;
}

/**
 * The k largest positive values of rows [b0, b1), each of n values that lie in tiles [b1 - b0, tile], and their latents from the list
 * `names`; vals and idx are [batch, k], filled up with zeros. Positive floats are ordered as their bits are: the k-th is found by halving
 * the range in which it lies. `scratch` holds n values in whole vectors.
 */
export function topPositive(pre: usize, names: usize, n: i32, k: i32, vals: usize, idx: usize, scratch: usize, b0: i32, b1: i32): void {
  const rows = <usize>(b1 - b0);
  const bytes = ((<usize>n + 3) & ~3) << 2;
  for (let o: usize = (<usize>n) << 2; o < bytes; o += 4) store<f32>(scratch + o, 0);
  for (let b = b0; b < b1; b++) {
    for (let first = 0; first < n; first += tileLatents) {
      const width = (<usize>min(tileLatents, n - first)) << 2;
      memory.copy(scratch + ((<usize>first) << 2), pre + ((<usize>first) << 2) * rows + <usize>(b - b0) * width, width);
    }
    const v = vals + <usize>b * ((<usize>k) << 2);
    const i = idx + <usize>b * ((<usize>k) << 2);
    // Above `low` there are k values or more, above `high` fewer.
    let low = 0, high = 0x7f800000, over = countOver(scratch, bytes, 0);
    if (over > k) {
      while (high - low > 1 && over != k) {
        const middle = low + ((high - low) >> 1);
        const count = countOver(scratch, bytes, middle);
        if (count >= k) {
          low = middle;
          over = count;
        } else {
          high = middle;
        }
      }
    }
    // Among equals those that come first.
    let size = over > k ? collect(scratch, bytes, high, 0x7f800000, names, v, i, 0, k) : 0;
    size = collect(scratch, bytes, low, over > k ? high : 0x7f800000, names, v, i, size, k);
    for (; size < k; size++) store<u32>(v + ((<usize>size) << 2), 0);
  }
}
