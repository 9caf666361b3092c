import { addInto, dot, horizontalSum, madd } from "./vector";

/** Moves a row's positive entries to its front and zeroes the rest; returns how many. `source` may be the row itself. */
function keepPositive(vals: usize, source: usize, idx: usize, k: i32): i32 {
  let n = 0;
  for (let j = 0; j < k; j++) {
    const v = load<f32>(vals + ((<usize>j) << 2));
    if (v > 0) {
      store<f32>(vals + ((<usize>n) << 2), v);
      store<u32>(idx + ((<usize>n) << 2), load<u32>(source + ((<usize>j) << 2)));
      n++;
    }
  }
  for (let j = n; j < k; j++) store<f32>(vals + ((<usize>j) << 2), 0);
  return n;
}

/** out = base + Σ vals[j]·w[idx[j]]; base 0 is the zero vector. Eight vectors stay in registers over all entries. */
export function reconstruct(out: usize, base: usize, vals: usize, idx: usize, n: i32, w: usize, width: usize, stride: usize): void {
  const zero = f32x4.splat(0);
  let o: usize = 0;
  for (; o + 128 <= width; o += 128) {
    let a0 = zero, a1 = zero, a2 = zero, a3 = zero, a4 = zero, a5 = zero, a6 = zero, a7 = zero;
    if (base) {
      const p = base + o;
      a0 = v128.load(p); a1 = v128.load(p, 16); a2 = v128.load(p, 32); a3 = v128.load(p, 48);
      a4 = v128.load(p, 64); a5 = v128.load(p, 80); a6 = v128.load(p, 96); a7 = v128.load(p, 112);
    }
    for (let j = 0; j < n; j++) {
      const v = v128.load_splat<f32>(vals + ((<usize>j) << 2));
      const p = w + <usize>load<u32>(idx + ((<usize>j) << 2)) * stride + o;
      a0 = madd(v, v128.load(p), a0); a1 = madd(v, v128.load(p, 16), a1); a2 = madd(v, v128.load(p, 32), a2); a3 = madd(v, v128.load(p, 48), a3);
      a4 = madd(v, v128.load(p, 64), a4); a5 = madd(v, v128.load(p, 80), a5); a6 = madd(v, v128.load(p, 96), a6); a7 = madd(v, v128.load(p, 112), a7);
    }
    const q = out + o;
    v128.store(q, a0); v128.store(q, a1, 16); v128.store(q, a2, 32); v128.store(q, a3, 48);
    v128.store(q, a4, 64); v128.store(q, a5, 80); v128.store(q, a6, 96); v128.store(q, a7, 112);
  }
  for (; o < width; o += 16) {
    let a = base ? v128.load(base + o) : zero;
    for (let j = 0; j < n; j++) {
      a = madd(v128.load_splat<f32>(vals + ((<usize>j) << 2)), v128.load(w + <usize>load<u32>(idx + ((<usize>j) << 2)) * stride + o), a);
    }
    v128.store(out + o, a);
  }
}

/** dz[j] = ⟨g, w[idx[j]]⟩, four entries at a time. */
export function dots(g: usize, idx: usize, dz: usize, n: i32, w: usize, width: usize, stride: usize): void {
  let j = 0;
  for (; j + 4 <= n; j += 4) {
    const i = idx + ((<usize>j) << 2);
    const w0 = w + <usize>load<u32>(i) * stride;
    const w1 = w + <usize>load<u32>(i, 4) * stride;
    const w2 = w + <usize>load<u32>(i, 8) * stride;
    const w3 = w + <usize>load<u32>(i, 12) * stride;
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    for (let o: usize = 0; o < width; o += 16) {
      const v = v128.load(g + o);
      a0 = madd(v, v128.load(w0 + o), a0);
      a1 = madd(v, v128.load(w1 + o), a1);
      a2 = madd(v, v128.load(w2 + o), a2);
      a3 = madd(v, v128.load(w3 + o), a3);
    }
    const q = dz + ((<usize>j) << 2);
    store<f32>(q, horizontalSum(a0));
    store<f32>(q, horizontalSum(a1), 4);
    store<f32>(q, horizontalSum(a2), 8);
    store<f32>(q, horizontalSum(a3), 12);
  }
  for (; j < n; j++) store<f32>(dz + ((<usize>j) << 2), dot(g, w + <usize>load<u32>(idx + ((<usize>j) << 2)) * stride, width));
}

/** g = scale·(g - target), columns += g; returns Σ (g - target)². */
// @ts-ignore: decorator
@inline
export function errorRow(g: usize, target: usize, columns: usize, scale: v128, width: usize): f32 {
  let s = f32x4.splat(0);
  for (let o: usize = 0; o < width; o += 16) {
    const e = f32x4.sub(v128.load(g + o), v128.load(target + o));
    s = madd(e, e, s);
    const ge = f32x4.mul(e, scale);
    v128.store(g + o, ge);
    v128.store(columns + o, f32x4.add(v128.load(columns + o), ge));
  }
  return horizontalSum(s);
}

/**
 * Rows [b0, b1) of the main reconstruction: vals and idx [B, k] lose their non-positive entries, g = gScale·(z·wDec + bDec - target),
 * dz = ⟨g, wDec⟩ of every entry, columns += g. Returns Σ error².
 */
export function decode(vals: usize, idx: usize, k: i32, wDec: usize, bDec: usize, target: usize, g: usize, dz: usize, columns: usize, gScale: f32, b0: i32, b1: i32, width: usize, stride: usize): f64 {
  const scale = f32x4.splat(gScale);
  const entryRow = (<usize>k) << 2;
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const v = vals + <usize>b * entryRow;
    const i = idx + <usize>b * entryRow;
    const row = g + <usize>b * stride;
    const n = keepPositive(v, i, i, k);
    reconstruct(row, bDec, v, i, n, wDec, width, stride);
    loss += <f64>errorRow(row, target + <usize>b * stride, columns, scale, width);
    dots(row, i, dz + <usize>b * entryRow, n, wDec, width, stride);
  }
  return loss;
}

/**
 * Rows [b0, b1) of the auxiliary reconstruction of the residual e = -g/gScale by dead latents. `source` holds the latents of
 * each entry (`sourceRow` bytes a row, 0 when all rows share one list) and is copied to idx. g2 = auxScale·(za·wDec - e). Returns Σ (ê - e)².
 */
export function decodeAux(vals: usize, source: usize, sourceRow: usize, idx: usize, k: i32, wDec: usize, g: usize, g2: usize, dz: usize, inverseScale: f32, auxScale: f32, b0: i32, b1: i32, width: usize, stride: usize): f64 {
  const inverse = f32x4.splat(inverseScale);
  const scale = f32x4.splat(auxScale);
  const entryRow = (<usize>k) << 2;
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const v = vals + <usize>b * entryRow;
    const i = idx + <usize>b * entryRow;
    const row = g2 + <usize>b * stride;
    const main = g + <usize>b * stride;
    const n = keepPositive(v, source + <usize>b * sourceRow, i, k);
    reconstruct(row, 0, v, i, n, wDec, width, stride);
    let s = f32x4.splat(0);
    for (let o: usize = 0; o < width; o += 16) {
      const q = madd(v128.load(main + o), inverse, v128.load(row + o));
      s = madd(q, q, s);
      v128.store(row + o, f32x4.mul(q, scale));
    }
    loss += <f64>horizontalSum(s);
    dots(row, i, dz + <usize>b * entryRow, n, wDec, width, stride);
  }
  return loss;
}

/** seed_compat: g = error = (z·wDec + bDec)·deviation + mean - x, in the raw space. Returns Σ error². */
export function seedDecode(vals: usize, idx: usize, k: i32, wDec: usize, bDec: usize, x: usize, mean: usize, deviation: usize, g: usize, b0: i32, b1: i32, d: i32, width: usize, stride: usize): f64 {
  const entryRow = (<usize>k) << 2;
  const whole = (<usize>(d & ~3)) << 2;
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const v = vals + <usize>b * entryRow;
    const i = idx + <usize>b * entryRow;
    const row = g + <usize>b * stride;
    const t = x + <usize>b * stride;
    reconstruct(row, bDec, v, i, keepPositive(v, i, i, k), wDec, width, stride);
    const mu = load<f32>(mean + ((<usize>b) << 2));
    const std = load<f32>(deviation + ((<usize>b) << 2));
    const m = f32x4.splat(mu);
    const sd = f32x4.splat(std);
    let s = f32x4.splat(0);
    let o: usize = 0;
    for (; o < whole; o += 16) {
      const e = f32x4.sub(madd(v128.load(row + o), sd, m), v128.load(t + o));
      s = madd(e, e, s);
      v128.store(row + o, e);
    }
    let sum = horizontalSum(s);
    // The padding beyond d stays zero: it must not take the row's mean.
    for (; o < (<usize>d) << 2; o += 4) {
      const e = load<f32>(row + o) * std + mu - load<f32>(t + o);
      sum += e * e;
      store<f32>(row + o, e);
    }
    loss += <f64>sum;
  }
  return loss;
}

/** seed_compat: q = (za·wDec + bDec)·deviation + mean + error; g2 = auxScale·q·deviation. Returns Σ q². */
export function seedDecodeAux(vals: usize, source: usize, sourceRow: usize, idx: usize, k: i32, wDec: usize, bDec: usize, mean: usize, deviation: usize, g: usize, g2: usize, dz: usize, auxScale: f32, b0: i32, b1: i32, d: i32, width: usize, stride: usize): f64 {
  const entryRow = (<usize>k) << 2;
  const whole = (<usize>(d & ~3)) << 2;
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const v = vals + <usize>b * entryRow;
    const i = idx + <usize>b * entryRow;
    const row = g2 + <usize>b * stride;
    const error = g + <usize>b * stride;
    const n = keepPositive(v, source + <usize>b * sourceRow, i, k);
    reconstruct(row, bDec, v, i, n, wDec, width, stride);
    const mu = load<f32>(mean + ((<usize>b) << 2));
    const std = load<f32>(deviation + ((<usize>b) << 2));
    const m = f32x4.splat(mu);
    const sd = f32x4.splat(std);
    const scale = f32x4.splat(auxScale * std);
    let s = f32x4.splat(0);
    let o: usize = 0;
    for (; o < whole; o += 16) {
      const q = f32x4.add(madd(v128.load(row + o), sd, m), v128.load(error + o));
      s = madd(q, q, s);
      v128.store(row + o, f32x4.mul(q, scale));
    }
    let sum = horizontalSum(s);
    for (; o < (<usize>d) << 2; o += 4) {
      const q = load<f32>(row + o) * std + mu + load<f32>(error + o);
      sum += q * q;
      store<f32>(row + o, q * auxScale * std);
    }
    loss += <f64>sum;
    dots(row, i, dz + <usize>b * entryRow, n, wDec, width, stride);
  }
  return loss;
}

/** seed_compat: g = gScale·error·deviation + g2, dz of the main entries, columns += g + g2. g2 is 0 without dead latents. */
export function seedFinish(vals: usize, idx: usize, k: i32, wDec: usize, deviation: usize, g: usize, g2: usize, dz: usize, columns: usize, gScale: f32, b0: i32, b1: i32, width: usize, stride: usize): void {
  const entryRow = (<usize>k) << 2;
  for (let b = b0; b < b1; b++) {
    const row = g + <usize>b * stride;
    const scale = f32x4.mul(f32x4.splat(gScale), v128.load_splat<f32>(deviation + ((<usize>b) << 2)));
    for (let o: usize = 0; o < width; o += 16) v128.store(row + o, f32x4.mul(v128.load(row + o), scale));
    if (g2) {
      const aux = g2 + <usize>b * stride;
      addInto(aux, row, width);
      addInto(aux, columns, width);
    }
    addInto(row, columns, width);
    const v = vals + <usize>b * entryRow;
    let n = 0;
    while (n < k && load<f32>(v + ((<usize>n) << 2)) > 0) n++;
    dots(row, idx + <usize>b * entryRow, dz + <usize>b * entryRow, n, wDec, width, stride);
  }
}
