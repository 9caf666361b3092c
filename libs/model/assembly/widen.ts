/** Stored values → f32, exact. */
export function widenRow(from: usize, type: i32, to: usize, count: i32): void {
  if (type == 0) memory.copy(to, from, <usize>count << 2);
  else if (type == 1) widenF16(from, to, count);
  else widenBf16(from, to, count);
}

function widenBf16(from: usize, to: usize, count: i32): void {
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const v = v128.load(from + (<usize>i << 1));
    v128.store(to + (<usize>i << 2), i32x4.shl(i32x4.extend_low_i16x8_u(v), 16));
    v128.store(to + (<usize>i << 2), i32x4.shl(i32x4.extend_high_i16x8_u(v), 16), 16);
  }
  for (; i < count; i++) store<u32>(to + (<usize>i << 2), (<u32>load<u16>(from + (<usize>i << 1))) << 16);
}

// Exponent and mantissa of an f16, moved to their places in an f32, are 2^112 too small; infinities and NaNs need the
// exponent filled.
// @ts-ignore: decorator
@inline
function fromHalf(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const scaled = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = v128.and(i32x4.gt_s(magnitude, i32x4.splat(0x0f7fffff)), i32x4.splat(0x7f800000));
  return v128.or(v128.or(scaled, special), i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16));
}

function widenF16(from: usize, to: usize, count: i32): void {
  let i = 0;
  for (; i + 8 <= count; i += 8) {
    const v = v128.load(from + (<usize>i << 1));
    v128.store(to + (<usize>i << 2), fromHalf(i32x4.extend_low_i16x8_u(v)));
    v128.store(to + (<usize>i << 2), fromHalf(i32x4.extend_high_i16x8_u(v)), 16);
  }
  for (; i < count; i++) store<f32>(to + (<usize>i << 2), f32x4.extract_lane(fromHalf(i32x4.splat(<i32>load<u16>(from + (<usize>i << 1)))), 0));
}
