import { horizontalSum, madd } from "./vector";

// @ts-ignore: decorator
@inline
function scaleOf(squares: v128, unit: i32): v128 {
  const sum = horizontalSum(squares);
  return f32x4.splat(unit && sum > 0 ? <f32>1 / sqrt<f32>(sum) : <f32>1);
}

/**
 * One step of sign descent under schedule-free averaging on one row, with p = y on entry and exit (Defazio et al. 2024):
 * z -= decay·y + lr·sign(g); x += share·(z - x); y = x + rest·(z - x). With `unit` z, x and y are made unit vectors each.
 */
// @ts-ignore: decorator
@inline
function signumRow(p: usize, gradient: usize, z: usize, x: usize, bytes: usize, lr: f32, decay: f32, share: f32, rest: f32, unit: i32): void {
  const up = f32x4.splat(lr), down = f32x4.splat(-lr), zero = f32x4.splat(0);
  const w = f32x4.splat(decay), c = f32x4.splat(share), r = f32x4.splat(rest);
  let squares = zero;
  for (let o: usize = 0; o < bytes; o += 16) {
    const g = v128.load(gradient + o);
    const moved = v128.or(v128.and(f32x4.gt(g, zero), up), v128.and(f32x4.lt(g, zero), down));
    const next = f32x4.sub(f32x4.sub(v128.load(z + o), f32x4.mul(w, v128.load(p + o))), moved);
    v128.store(z + o, next);
    squares = madd(next, next, squares);
  }
  let s = scaleOf(squares, unit);
  squares = zero;
  for (let o: usize = 0; o < bytes; o += 16) {
    const base = f32x4.mul(s, v128.load(z + o));
    const old = v128.load(x + o);
    const next = madd(c, f32x4.sub(base, old), old);
    v128.store(z + o, base);
    v128.store(x + o, next);
    squares = madd(next, next, squares);
  }
  s = scaleOf(squares, unit);
  squares = zero;
  for (let o: usize = 0; o < bytes; o += 16) {
    const average = f32x4.mul(s, v128.load(x + o));
    const next = madd(r, f32x4.sub(v128.load(z + o), average), average);
    v128.store(x + o, average);
    v128.store(p + o, next);
    squares = madd(next, next, squares);
  }
  if (!unit) return;
  s = scaleOf(squares, unit);
  for (let o: usize = 0; o < bytes; o += 16) v128.store(p + o, f32x4.mul(s, v128.load(p + o)));
}

/**
 * One step on latents [f0, f1). Untouched rows have no gradient: z stays, x and y follow it.
 * `denseDecoder`: decoder gradients exist for every row. `unitRows`: decoder rows stay unit vectors.
 */
export function signum(wEnc: usize, wDec: usize, gEnc: usize, gDec: usize, zEnc: usize, xEnc: usize, zDec: usize, xDec: usize, touched: usize, zeroRow: usize, denseDecoder: i32, unitRows: i32, lr: f32, decay: f32, share: f32, rest: f32, f0: i32, f1: i32, stride: usize): void {
  for (let f = f0; f < f1; f++) {
    const o = <usize>f * stride;
    const has = load<u8>(touched + <usize>f);
    signumRow(wEnc + o, has ? gEnc + o : zeroRow, zEnc + o, xEnc + o, stride, lr, decay, share, rest, 0);
    signumRow(wDec + o, has | denseDecoder ? gDec + o : zeroRow, zDec + o, xDec + o, stride, lr, decay, share, rest, unitRows);
  }
}

/** One step on a vector of its own. */
export function signumVector(p: usize, gradient: usize, z: usize, x: usize, lr: f32, decay: f32, share: f32, rest: f32, bytes: usize): void {
  signumRow(p, gradient, z, x, bytes, lr, decay, share, rest, 0);
}
