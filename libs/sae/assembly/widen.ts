// Rows of a stored matrix [n, d], picked by number, widened to f32 rows of the batch. `list` holds u32 row numbers.
// Only the first d columns of a batch row are written; the rest is padding and stays zero.

// @ts-ignore: decorator
@inline
function pick(list: usize, i: i32): usize {
  return <usize>load<u32>(list + ((<usize>i) << 2));
}

export function widenF32(source: usize, list: usize, n: i32, out: usize, d: i32, stride: usize): void {
  for (let i = 0; i < n; i++) memory.copy(out + <usize>i * stride, source + pick(list, i) * ((<usize>d) << 2), (<usize>d) << 2);
}

export function widenBf16(source: usize, list: usize, n: i32, out: usize, d: i32, stride: usize): void {
  const zero = i32x4.splat(0);
  for (let i = 0; i < n; i++) {
    const from = source + pick(list, i) * ((<usize>d) << 1);
    const to = out + <usize>i * stride;
    let j = 0;
    for (; j + 8 <= d; j += 8) {
      const v = v128.load(from + ((<usize>j) << 1));
      v128.store(to + ((<usize>j) << 2), i16x8.shuffle(zero, v, 0, 8, 0, 9, 0, 10, 0, 11));
      v128.store(to + ((<usize>j) << 2), i16x8.shuffle(zero, v, 0, 12, 0, 13, 0, 14, 0, 15), 16);
    }
    for (; j < d; j++) store<u32>(to + ((<usize>j) << 2), (<u32>load<u16>(from + ((<usize>j) << 1))) << 16);
  }
}

// An f16's exponent and mantissa, moved into an f32's place, are 2^112 too small; infinities and NaNs need their exponent filled.
// @ts-ignore: decorator
@inline
function halves(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const scaled = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x0f7fffff)), i32x4.splat(0x7f800000));
  return v128.or(v128.or(scaled, special), i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16));
}

export function widenF16(source: usize, list: usize, n: i32, out: usize, d: i32, stride: usize): void {
  for (let i = 0; i < n; i++) {
    const from = source + pick(list, i) * ((<usize>d) << 1);
    const to = out + <usize>i * stride;
    let j = 0;
    for (; j + 8 <= d; j += 8) {
      const v = v128.load(from + ((<usize>j) << 1));
      v128.store(to + ((<usize>j) << 2), halves(i32x4.extend_low_i16x8_u(v)));
      v128.store(to + ((<usize>j) << 2), halves(i32x4.extend_high_i16x8_u(v)), 16);
    }
    for (; j < d; j++) {
      const bits = i32x4.splat(<i32>load<u16>(from + ((<usize>j) << 1)));
      store<f32>(to + ((<usize>j) << 2), f32x4.extract_lane(halves(bits), 0));
    }
  }
}
