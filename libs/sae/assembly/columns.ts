import { dot, madd, horizontalSum } from "./vector";

// seed_compat normalises the decoder over its latents: one norm for each model dimension. Sums are f64.

// @ts-ignore: decorator
@inline
function addProduct(a: v128, b: v128, sums: usize): void {
  const p = f32x4.mul(a, b);
  v128.store(sums, f64x2.add(v128.load(sums), f64x2.promote_low_f32x4(p)));
  v128.store(sums, f64x2.add(v128.load(sums, 16), f64x2.promote_low_f32x4(i64x2.shuffle(p, p, 1, 0))), 16);
}

/** sums[j] += Σ w[f][j]² over latents [f0, f1). */
export function columnSquares(w: usize, sums: usize, f0: i32, f1: i32, stride: usize): void {
  for (let f = f0; f < f1; f++) {
    const row = w + <usize>f * stride;
    for (let o: usize = 0; o < stride; o += 16) addProduct(v128.load(row + o), v128.load(row + o), sums + (o << 1));
  }
}

/** w[f] /= norms, then sums[j] += Σ w[f][j]·g[f][j] over the touched latents of [f0, f1). */
export function divideColumns(w: usize, g: usize, touched: usize, norms: usize, sums: usize, f0: i32, f1: i32, stride: usize): void {
  for (let f = f0; f < f1; f++) {
    const row = w + <usize>f * stride;
    const gradient = g + <usize>f * stride;
    const has = load<u8>(touched + <usize>f);
    for (let o: usize = 0; o < stride; o += 16) {
      const v = f32x4.div(v128.load(row + o), v128.load(norms + o));
      v128.store(row + o, v);
      if (has) addProduct(v, v128.load(gradient + o), sums + (o << 1));
    }
  }
}

/** g[f] -= w[f]·along for latents [f0, f1), whose untouched rows start at zero. Returns Σ of the squares of all their gradients. */
export function projectColumns(w: usize, gDec: usize, gEnc: usize, touched: usize, along: usize, f0: i32, f1: i32, stride: usize): f64 {
  const zero = f32x4.splat(0);
  let norm: f64 = 0;
  for (let f = f0; f < f1; f++) {
    const o0 = <usize>f * stride;
    const has = load<u8>(touched + <usize>f);
    let s = zero;
    for (let o: usize = 0; o < stride; o += 16) {
      const g = f32x4.sub(has ? v128.load(gDec + o0 + o) : zero, f32x4.mul(v128.load(w + o0 + o), v128.load(along + o)));
      v128.store(gDec + o0 + o, g);
      s = madd(g, g, s);
    }
    norm += <f64>horizontalSum(s);
    if (has) norm += <f64>dot(gEnc + o0, gEnc + o0, stride);
  }
  return norm;
}
