// Blocks of f32 at `x`, `bytes` long: a multiple of 64, sixteen values. Operations are those of IEEE 754 in a fixed order,
// so that every machine writes the same file.

// Such a peak has no inverse that can be multiplied in f32; its block is zero for any purpose (2^-120).
const least: f32 = 7.523164e-37;

/** Sums of eight candidates: xq, then qq. */
const found = memory.data(64, 16);

// @ts-ignore: decorator
@inline
function highest(v: v128): f32 {
  return max(max(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)), max(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)));
}

/** The value furthest from zero, the positive one of two; NaN where there is one. */
function peakOf(x: usize, bytes: usize): f32 {
  let high = f32x4.splat(0);
  let low = f32x4.splat(0);
  for (let o: usize = 0; o < bytes; o += 16) {
    const v = v128.load(x + o);
    high = f32x4.max(high, v);
    low = f32x4.min(low, v);
  }
  const top = highest(high);
  const bottom = highest(f32x4.neg(low));
  return top >= bottom ? top : top != top ? top : -bottom;
}

// @ts-ignore: decorator
@inline
function levels4(x: v128, factor: v128): v128 {
  return f32x4.pmax(f32x4.pmin(f32x4.nearest(f32x4.mul(x, factor)), f32x4.splat(7)), f32x4.splat(-8));
}

/** Sixteen levels as bytes, `zero` added. */
// @ts-ignore: decorator
@inline
function bytes16(a: v128, b: v128, c: v128, d: v128, zero: f32): v128 {
  const z = f32x4.splat(zero);
  const low = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(f32x4.add(a, z)), i32x4.trunc_sat_f32x4_s(f32x4.add(b, z)));
  const high = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(f32x4.add(c, z)), i32x4.trunc_sat_f32x4_s(f32x4.add(d, z)));
  return i8x16.narrow_i16x8_u(low, high);
}

/** Values to uint8 around 128; returns the scale |peak| / 127. */
export function quantiseBlock8(x: usize, bytes: usize, values: usize): f32 {
  const peak = abs(peakOf(x, bytes));
  const factor = f32x4.splat(peak < least ? 0 : <f32>127 / peak);
  for (let o: usize = 0; o < bytes; o += 64) {
    const a = f32x4.nearest(f32x4.mul(v128.load(x + o), factor));
    const b = f32x4.nearest(f32x4.mul(v128.load(x + o, 16), factor));
    const c = f32x4.nearest(f32x4.mul(v128.load(x + o, 32), factor));
    const d = f32x4.nearest(f32x4.mul(v128.load(x + o, 48), factor));
    v128.store(values + (o >> 2), bytes16(a, b, c, d, 128));
  }
  return peak < least ? 0 : peak / 127;
}

/**
 * Values to levels -8 to 7 around 8, the first of two in the low four bits; returns the scale.
 *
 * `levels` are numbers that the peak is brought to while the best scale is sought, a multiple of eight of them. For the
 * levels q that a candidate rounds to, the best scale is sum(x q) / sum(q q), and the squared error left is
 * sum(x x) - sum(x q)^2 / sum(q q): the candidate with the largest last term wins, the first of several. All is done in
 * units of the peak, where nothing overflows, and for eight candidates at once.
 */
export function quantiseBlock4(x: usize, bytes: usize, levels: usize, levelCount: i32, values: usize): f32 {
  const peak = peakOf(x, bytes);
  if (peak != peak || abs(peak) == <f32>Infinity) return peak;
  const inverse: f32 = abs(peak) < least ? 0 : <f32>1 / peak;
  let best: f32 = 0;
  let level: f32 = 0;
  let scale: f32 = 0;
  if (inverse != 0) {
    for (let i = 0; i < levelCount; i += 8) {
      const a = v128.load(levels + (<usize>i << 2));
      const b = v128.load(levels + (<usize>i << 2), 16);
      let xqA = f32x4.splat(0);
      let xqB = f32x4.splat(0);
      let qqA = f32x4.splat(0);
      let qqB = f32x4.splat(0);
      for (let o: usize = 0; o < bytes; o += 4) {
        const v = f32x4.splat(load<f32>(x + o) * inverse);
        const qA = levels4(v, a);
        const qB = levels4(v, b);
        xqA = f32x4.add(xqA, f32x4.mul(v, qA));
        xqB = f32x4.add(xqB, f32x4.mul(v, qB));
        qqA = f32x4.add(qqA, f32x4.mul(qA, qA));
        qqB = f32x4.add(qqB, f32x4.mul(qB, qB));
      }
      v128.store(found, xqA);
      v128.store(found, xqB, 16);
      v128.store(found, qqA, 32);
      v128.store(found, qqB, 48);
      for (let j: usize = 0; j < 32; j += 4) {
        const xq = load<f32>(found + j);
        const qq = load<f32>(found + j, 32);
        const explained = (xq * xq) / qq;
        if (explained > best) {
          best = explained;
          level = load<f32>(levels + (<usize>i << 2) + j);
          scale = peak * (xq / qq);
        }
      }
    }
  }
  const unit = f32x4.splat(inverse);
  const by = f32x4.splat(level);
  for (let o: usize = 0; o < bytes; o += 64) {
    const a = levels4(f32x4.mul(v128.load(x + o), unit), by);
    const b = levels4(f32x4.mul(v128.load(x + o, 16), unit), by);
    const c = levels4(f32x4.mul(v128.load(x + o, 32), unit), by);
    const d = levels4(f32x4.mul(v128.load(x + o, 48), unit), by);
    const v = bytes16(a, b, c, d, 8);
    const pairs = v128.and(v128.or(v, i16x8.shr_u(v, 4)), i16x8.splat(0xff));
    v128.store64_lane(values + (o >> 3), i8x16.narrow_i16x8_u(pairs, pairs), 0);
  }
  return scale;
}
