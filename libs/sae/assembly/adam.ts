import { horizontalSum, madd } from "./vector";

/**
 * Adam with decoupled weight decay on one row: p *= decay; m = β1·m + (1-β1)·g; v = β2·v + (1-β2)·g²; p -= step·m/(√v·unbias2 + ε),
 * with g scaled by clip. Returns the sums of p².
 */
// @ts-ignore: decorator
@inline
function adamRow(p: usize, gradient: usize, m: usize, v: usize, bytes: usize, clip: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, step: f32, unbias2: f32, epsilon: f32, decay: f32): v128 {
  const b1 = f32x4.splat(beta1), r1 = f32x4.splat(rest1), b2 = f32x4.splat(beta2), r2 = f32x4.splat(rest2);
  const c = f32x4.splat(clip), s = f32x4.splat(step), u = f32x4.splat(unbias2), e = f32x4.splat(epsilon), keep = f32x4.splat(decay);
  let squares = f32x4.splat(0);
  for (let o: usize = 0; o < bytes; o += 16) {
    const g = f32x4.mul(v128.load(gradient + o), c);
    const first = madd(r1, g, f32x4.mul(b1, v128.load(m + o)));
    const second = madd(r2, f32x4.mul(g, g), f32x4.mul(b2, v128.load(v + o)));
    v128.store(m + o, first);
    v128.store(v + o, second);
    const moved = f32x4.div(f32x4.mul(s, first), f32x4.add(f32x4.mul(f32x4.sqrt(second), u), e));
    const next = f32x4.sub(f32x4.mul(v128.load(p + o), keep), moved);
    v128.store(p + o, next);
    squares = madd(next, next, squares);
  }
  return squares;
}

/**
 * One Adam step on latents [f0, f1). Untouched rows take the gradient `zeroRow`: their moments decay and they still move.
 * `denseDecoder`: decoder gradients exist for every row. `unitRows`: decoder rows are made unit norm afterwards.
 */
export function adam(wEnc: usize, wDec: usize, gEnc: usize, gDec: usize, mEnc: usize, vEnc: usize, mDec: usize, vDec: usize, touched: usize, zeroRow: usize, denseDecoder: i32, unitRows: i32, clip: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, step: f32, unbias2: f32, epsilon: f32, decay: f32, f0: i32, f1: i32, stride: usize): void {
  for (let f = f0; f < f1; f++) {
    const o = <usize>f * stride;
    const has = load<u8>(touched + <usize>f);
    adamRow(wEnc + o, has ? gEnc + o : zeroRow, mEnc + o, vEnc + o, stride, clip, beta1, rest1, beta2, rest2, step, unbias2, epsilon, decay);
    const squares = adamRow(wDec + o, has | denseDecoder ? gDec + o : zeroRow, mDec + o, vDec + o, stride, clip, beta1, rest1, beta2, rest2, step, unbias2, epsilon, decay);
    if (unitRows) scaleToUnit(wDec + o, horizontalSum(squares), stride);
  }
}

/** One Adam step on a vector of its own. */
export function adamVector(p: usize, gradient: usize, m: usize, v: usize, clip: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, step: f32, unbias2: f32, epsilon: f32, decay: f32, bytes: usize): void {
  adamRow(p, gradient, m, v, bytes, clip, beta1, rest1, beta2, rest2, step, unbias2, epsilon, decay);
}

function scaleToUnit(row: usize, squares: f32, bytes: usize): void {
  if (!(squares > 0)) return;
  const s = f32x4.splat(<f32>1 / sqrt<f32>(squares));
  for (let o: usize = 0; o < bytes; o += 16) v128.store(row + o, f32x4.mul(v128.load(row + o), s));
}
