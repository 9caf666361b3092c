import { horizontalSum, madd } from "./vector";

const NONE: i32 = 0;
const SCALE: i32 = 1;
const LAYER_NORM: i32 = 2;

// @ts-ignore: decorator
@inline
function lane(p: usize, i: i32): f32 {
  return load<f32>(p + ((<usize>i) << 2));
}

function rowMean(x: usize, d: i32): f32 {
  let s = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= d; i += 4) s = f32x4.add(s, v128.load(x + ((<usize>i) << 2)));
  let sum = horizontalSum(s);
  for (; i < d; i++) sum += lane(x, i);
  return sum / <f32>d;
}

/** Σ (x - mu)² */
function rowSquares(x: usize, d: i32, mu: f32): f32 {
  const m = f32x4.splat(mu);
  let s = f32x4.splat(0);
  let i = 0;
  for (; i + 4 <= d; i += 4) {
    const c = f32x4.sub(v128.load(x + ((<usize>i) << 2)), m);
    s = madd(c, c, s);
  }
  let sum = horizontalSum(s);
  for (; i < d; i++) sum += (lane(x, i) - mu) * (lane(x, i) - mu);
  return sum;
}

function zeroTail(row: usize, d: i32, stride: usize): void {
  for (let o = (<usize>d) << 2; o < stride; o += 4) store<f32>(row + o, 0);
}

/**
 * Normalises rows [b0, b1) of x into target (not written for NONE) and writes the encoder's input
 * centered = target - bDec, with 1 in column d: the encoder's rows hold their bias there.
 * LAYER_NORM keeps mean and unbiased standard deviation of each row.
 */
export function prepare(x: usize, target: usize, centered: usize, bDec: usize, mean: usize, deviation: usize, mode: i32, scale: f32, b0: i32, b1: i32, d: i32, stride: usize): void {
  const width = ((<usize>d + 3) & ~3) << 2;
  for (let b = b0; b < b1; b++) {
    const row = x + <usize>b * stride;
    const out = mode == NONE ? row : target + <usize>b * stride;
    const c = centered + <usize>b * stride;
    let shift: f32 = 0;
    let factor: f32 = scale;
    if (mode == LAYER_NORM) {
      shift = rowMean(row, d);
      const std = sqrt<f32>(rowSquares(row, d, shift) / <f32>(d - 1));
      store<f32>(mean + ((<usize>b) << 2), shift);
      store<f32>(deviation + ((<usize>b) << 2), std);
      const divisor = f32x4.splat(std + <f32>1e-5);
      const m = f32x4.splat(shift);
      for (let o: usize = 0; o < width; o += 16) v128.store(out + o, f32x4.div(f32x4.sub(v128.load(row + o), m), divisor));
      zeroTail(out, d, stride);
    } else if (mode != NONE) {
      if (mode != SCALE) {
        const norm = sqrt<f32>(rowSquares(row, d, 0));
        factor = norm > 0 ? sqrt<f32>(<f32>d) / norm : 0;
      }
      const f = f32x4.splat(factor);
      for (let o: usize = 0; o < width; o += 16) v128.store(out + o, f32x4.mul(v128.load(row + o), f));
      zeroTail(out, d, stride);
    }
    for (let o: usize = 0; o < width; o += 16) v128.store(c + o, f32x4.sub(v128.load(out + o), v128.load(bDec + o)));
    zeroTail(c, d, stride);
    store<f32>(c + ((<usize>d) << 2), 1);
  }
}

/** Adds rows [b0, b1) to the f64 column sums and returns their sum of squares. */
export function moments(rows: usize, sums: usize, b0: i32, b1: i32, width: usize, stride: usize): f64 {
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  for (let b = b0; b < b1; b++) {
    const row = rows + <usize>b * stride;
    for (let o: usize = 0; o < width; o += 16) {
      const v = v128.load(row + o);
      const low = f64x2.promote_low_f32x4(v);
      const high = f64x2.promote_low_f32x4(i64x2.shuffle(v, v, 1, 0));
      const q = sums + (o << 1);
      v128.store(q, f64x2.add(v128.load(q), low));
      v128.store(q, f64x2.add(v128.load(q, 16), high), 16);
      s0 = f64x2.add(s0, f64x2.mul(low, low));
      s1 = f64x2.add(s1, f64x2.mul(high, high));
    }
  }
  const s = f64x2.add(s0, s1);
  return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1);
}
