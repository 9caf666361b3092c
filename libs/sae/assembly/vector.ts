// Rows of f32 as vectors of four. Pointers and lengths are bytes; lengths are multiples of 16.
// Multiply and add stay two operations: a relaxed fused one rounds differently from one CPU to the next.

// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, sum: v128): v128 {
  return f32x4.add(sum, f32x4.mul(a, b));
}

// @ts-ignore: decorator
@inline
export function horizontalSum(a: v128): f32 {
  return f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1) + (f32x4.extract_lane(a, 2) + f32x4.extract_lane(a, 3));
}

/** Σ a·b */
export function dot(a: usize, b: usize, bytes: usize): f32 {
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let o: usize = 0;
  for (; o + 64 <= bytes; o += 64) {
    s0 = madd(v128.load(a + o), v128.load(b + o), s0);
    s1 = madd(v128.load(a + o, 16), v128.load(b + o, 16), s1);
    s2 = madd(v128.load(a + o, 32), v128.load(b + o, 32), s2);
    s3 = madd(v128.load(a + o, 48), v128.load(b + o, 48), s3);
  }
  for (; o < bytes; o += 16) s0 = madd(v128.load(a + o), v128.load(b + o), s0);
  return horizontalSum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
}

/** y += scale·x */
export function axpy(scale: f32, x: usize, y: usize, bytes: usize): void {
  const v = f32x4.splat(scale);
  for (let o: usize = 0; o < bytes; o += 16) v128.store(y + o, madd(v, v128.load(x + o), v128.load(y + o)));
}

/** y += x */
export function addInto(x: usize, y: usize, bytes: usize): void {
  for (let o: usize = 0; o < bytes; o += 16) v128.store(y + o, f32x4.add(v128.load(y + o), v128.load(x + o)));
}
