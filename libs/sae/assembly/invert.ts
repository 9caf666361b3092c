// The entries of a batch by latent (CSR): first counted, then placed.
// A placed entry is 16 bytes: f32 value, f32 dz, pointer to its row of g, pointer to its row of the encoder's input.

/** counts[idx] += 1 for each of the n entries with a positive value; returns how many there are. */
export function countEntries(vals: usize, idx: usize, n: i32, counts: usize): i32 {
  let positive = 0;
  for (let i: usize = 0, end = (<usize>n) << 2; i < end; i += 4) {
    if (load<f32>(vals + i) > 0) {
      const p = counts + ((<usize>load<u32>(idx + i)) << 2);
      store<u32>(p, load<u32>(p) + 1);
      positive++;
    }
  }
  return positive;
}

/**
 * Counts this batch into the u64 counters of silence: next = fired ? whenFired : since + increment.
 * Latents with next >= threshold go, in order, to the list `dead`; returns how many.
 */
export function ageLatents(counts: usize, since: usize, next: usize, whenFired: f64, increment: f64, threshold: f64, dead: usize, h: i32): i32 {
  const reset = <u64>whenFired;
  const step = <u64>increment;
  const limit = <u64>threshold;
  let n = 0;
  for (let f = 0; f < h; f++) {
    const at = (<usize>f) << 3;
    const silent = load<u32>(counts + ((<usize>f) << 2)) == 0;
    const value = silent ? load<u64>(since + at) + step : reset;
    store<u64>(next + at, value);
    if (value >= limit) {
      store<i32>(dead + ((<usize>n) << 2), f);
      n++;
    }
  }
  return n;
}

/** offsets[f] = Σ counts before f, h + 1 of them; counts becomes the place of each latent's next entry. Returns all entries. */
export function placeLatents(counts: usize, offsets: usize, h: i32): u32 {
  let sum: u32 = 0;
  for (let f = 0; f < h; f++) {
    const p = (<usize>f) << 2;
    const n = load<u32>(counts + p);
    store<u32>(offsets + p, sum);
    store<u32>(counts + p, sum);
    sum += n;
  }
  store<u32>(offsets + ((<usize>h) << 2), sum);
  return sum;
}

/** Places the positive entries of rows [0, rows), k a row with the positive ones first. */
export function placeEntries(vals: usize, idx: usize, dz: usize, rows: i32, k: i32, g: usize, centered: usize, stride: usize, cursor: usize, entries: usize): void {
  const entryRow = (<usize>k) << 2;
  for (let b = 0; b < rows; b++) {
    const gRow = g + <usize>b * stride;
    const cRow = centered + <usize>b * stride;
    for (let p = <usize>b * entryRow, end = p + entryRow; p < end; p += 4) {
      const value = load<f32>(vals + p);
      if (!(value > 0)) break;
      const c = cursor + ((<usize>load<u32>(idx + p)) << 2);
      const at = load<u32>(c);
      store<u32>(c, at + 1);
      const e = entries + ((<usize>at) << 4);
      store<f32>(e, value);
      store<f32>(e, load<f32>(dz + p), 4);
      store<u32>(e, <u32>gRow, 8);
      store<u32>(e, <u32>cRow, 12);
    }
  }
}
