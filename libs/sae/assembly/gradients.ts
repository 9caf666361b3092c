import { axpy, dot, horizontalSum, madd } from "./vector";

/** gDec = Σ value·g and gEnc = Σ dz·centered over a latent's entries, kept in registers 16 columns at a time. */
function gatherLatent(entry: usize, end: usize, gEnc: usize, gDec: usize, stride: usize): void {
  const zero = f32x4.splat(0);
  let o: usize = 0;
  for (; o + 64 <= stride; o += 64) {
    let e0 = zero, e1 = zero, e2 = zero, e3 = zero;
    let d0 = zero, d1 = zero, d2 = zero, d3 = zero;
    for (let p = entry; p < end; p += 16) {
      const value = v128.load_splat<f32>(p);
      const dz = v128.load_splat<f32>(p + 4);
      const g = <usize>load<u32>(p, 8) + o;
      const c = <usize>load<u32>(p, 12) + o;
      d0 = madd(value, v128.load(g), d0);
      d1 = madd(value, v128.load(g, 16), d1);
      d2 = madd(value, v128.load(g, 32), d2);
      d3 = madd(value, v128.load(g, 48), d3);
      e0 = madd(dz, v128.load(c), e0);
      e1 = madd(dz, v128.load(c, 16), e1);
      e2 = madd(dz, v128.load(c, 32), e2);
      e3 = madd(dz, v128.load(c, 48), e3);
    }
    const q = gEnc + o;
    v128.store(q, e0); v128.store(q, e1, 16); v128.store(q, e2, 32); v128.store(q, e3, 48);
    const r = gDec + o;
    v128.store(r, d0); v128.store(r, d1, 16); v128.store(r, d2, 32); v128.store(r, d3, 48);
  }
  for (; o < stride; o += 16) {
    let e0 = zero, d0 = zero;
    for (let p = entry; p < end; p += 16) {
      d0 = madd(v128.load_splat<f32>(p), v128.load(<usize>load<u32>(p, 8) + o), d0);
      e0 = madd(v128.load_splat<f32>(p + 4), v128.load(<usize>load<u32>(p, 12) + o), e0);
    }
    v128.store(gEnc + o, e0);
    v128.store(gDec + o, d0);
  }
}

/** row -= amount·direction; returns Σ row² */
function projectOut(row: usize, direction: usize, amount: f32, bytes: usize): f32 {
  const a = f32x4.splat(amount);
  let s = f32x4.splat(0);
  for (let o: usize = 0; o < bytes; o += 16) {
    const v = f32x4.sub(v128.load(row + o), f32x4.mul(a, v128.load(direction + o)));
    v128.store(row + o, v);
    s = madd(v, v, s);
  }
  return horizontalSum(s);
}

/**
 * Gradients of latents [f0, f1); rows without entries are marked untouched and not written. The encoder row's gradient holds the
 * bias's in column d. Adds -Σ dz·wEnc[f] to bDecColumns (the gradient of bDec through the encoder's input).
 * With `project` the decoder gradient loses its part along the unit row wDec[f], and Σ of all squares is returned.
 */
export function gradients(offsets: usize, entries: usize, wEnc: usize, wDec: usize, gEnc: usize, gDec: usize, touched: usize, bDecColumns: usize, project: i32, f0: i32, f1: i32, d: i32, width: usize, stride: usize): f64 {
  let norm: f64 = 0;
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    const begin = entries + ((<usize>load<u32>(offsets + at)) << 4);
    const end = entries + ((<usize>load<u32>(offsets + at, 4)) << 4);
    store<u8>(touched + <usize>f, end > begin ? 1 : 0);
    if (end == begin) continue;
    const row = <usize>f * stride;
    const enc = gEnc + row;
    const dec = gDec + row;
    gatherLatent(begin, end, enc, dec, stride);
    axpy(-load<f32>(enc + ((<usize>d) << 2)), wEnc + row, bDecColumns, width);
    if (project) {
      const w = wDec + row;
      norm += <f64>projectOut(dec, w, dot(dec, w, width), width) + <f64>dot(enc, enc, stride);
    }
  }
  return norm;
}
