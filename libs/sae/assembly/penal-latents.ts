import { activation, beginLatent, beginStep, differentiate, gated, gateBiasSum, magnitudeBiasSum, magnitudeScaleSum, normSum, thresholdSum } from "./penal-formula";
import { axpy, dot, horizontalSum, madd } from "./vector";

/** A latent's entries as they are gathered: 16 bytes, f32 value, f32 gate, f32 gradient of the pre-activation, u32 bytes to its row. */
const VALUE: usize = 0;
const GATE: usize = 4;
const GRADIENT: usize = 8;
const ROW: usize = 12;

/** ⟨w, g[row]⟩ of each of the n entries (pre-activation, row) to `out`, `step` bytes apart, four at a time. */
function dots(w: usize, entries: usize, n: i32, g: usize, out: usize, width: usize, stride: usize): void {
  let j = 0;
  for (; j + 4 <= n; j += 4) {
    const e = entries + ((<usize>j) << 3);
    const g0 = g + <usize>load<u32>(e, 4) * stride;
    const g1 = g + <usize>load<u32>(e, 12) * stride;
    const g2 = g + <usize>load<u32>(e, 20) * stride;
    const g3 = g + <usize>load<u32>(e, 28) * stride;
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), a2 = f32x4.splat(0), a3 = f32x4.splat(0);
    for (let o: usize = 0; o < width; o += 16) {
      const v = v128.load(w + o);
      a0 = madd(v, v128.load(g0 + o), a0);
      a1 = madd(v, v128.load(g1 + o), a1);
      a2 = madd(v, v128.load(g2 + o), a2);
      a3 = madd(v, v128.load(g3 + o), a3);
    }
    const q = out + ((<usize>j) << 4);
    store<f32>(q, horizontalSum(a0));
    store<f32>(q, horizontalSum(a1), 16);
    store<f32>(q, horizontalSum(a2), 32);
    store<f32>(q, horizontalSum(a3), 48);
  }
  for (; j < n; j++) store<f32>(out + ((<usize>j) << 4), dot(w, g + <usize>load<u32>(entries + ((<usize>j) << 3), 4) * stride, width));
}

/** gDec = Σ value·g + Σ gate·g2 and gEnc = Σ gradient·centered over n gathered entries. */
function gather(entries: usize, n: i32, g: usize, g2: usize, centered: usize, gEnc: usize, gDec: usize, stride: usize): void {
  const zero = f32x4.splat(0);
  const end = entries + ((<usize>n) << 4);
  let o: usize = 0;
  for (; o + 64 <= stride; o += 64) {
    let e0 = zero, e1 = zero, e2 = zero, e3 = zero;
    let d0 = zero, d1 = zero, d2 = zero, d3 = zero;
    for (let p = entries; p < end; p += 16) {
      const row = <usize>load<u32>(p, ROW) + o;
      const v = v128.load_splat<f32>(p, VALUE);
      const q = g + row;
      d0 = madd(v, v128.load(q), d0); d1 = madd(v, v128.load(q, 16), d1); d2 = madd(v, v128.load(q, 32), d2); d3 = madd(v, v128.load(q, 48), d3);
      if (gated) {
        const a = v128.load_splat<f32>(p, GATE);
        const r = g2 + row;
        d0 = madd(a, v128.load(r), d0); d1 = madd(a, v128.load(r, 16), d1); d2 = madd(a, v128.load(r, 32), d2); d3 = madd(a, v128.load(r, 48), d3);
      }
      const s = v128.load_splat<f32>(p, GRADIENT);
      const c = centered + row;
      e0 = madd(s, v128.load(c), e0); e1 = madd(s, v128.load(c, 16), e1); e2 = madd(s, v128.load(c, 32), e2); e3 = madd(s, v128.load(c, 48), e3);
    }
    v128.store(gEnc + o, e0); v128.store(gEnc + o, e1, 16); v128.store(gEnc + o, e2, 32); v128.store(gEnc + o, e3, 48);
    v128.store(gDec + o, d0); v128.store(gDec + o, d1, 16); v128.store(gDec + o, d2, 32); v128.store(gDec + o, d3, 48);
  }
  for (; o < stride; o += 16) {
    let e0 = zero, d0 = zero;
    for (let p = entries; p < end; p += 16) {
      const row = <usize>load<u32>(p, ROW) + o;
      d0 = madd(v128.load_splat<f32>(p, VALUE), v128.load(g + row), d0);
      if (gated) d0 = madd(v128.load_splat<f32>(p, GATE), v128.load(g2 + row), d0);
      e0 = madd(v128.load_splat<f32>(p, GRADIENT), v128.load(centered + row), e0);
    }
    v128.store(gEnc + o, e0);
    v128.store(gDec + o, d0);
  }
}

/**
 * Gradients of latents [f0, f1) from their listed entries; rows of latents without any become zero. Sums that belong to the latent
 * itself go where {@link penalFinish} takes them. `scratch` has room for 16 bytes a row of the batch.
 */
export function penalLatents(block: usize, offsets: usize, entries: usize, scratch: usize, g: usize, g2: usize, centered: usize, wEnc: usize, wDec: usize, vectors: usize, gVectors: usize, span: usize, norms: usize, gNorms: usize, gGates: usize, rowFactors: usize, gEnc: usize, gDec: usize, touched: usize, f0: i32, f1: i32, d: i32, width: usize, stride: usize): void {
  beginStep(block);
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    const o = <usize>f * stride;
    const first = load<u32>(offsets + at);
    const n = <i32>(load<u32>(offsets + at, 4) - first);
    beginLatent(vectors + at, span, load<f32>(wEnc + o + ((<usize>d) << 2)), load<f32>(norms + at));
    store<u8>(touched + <usize>f, n > 0 ? 1 : 0);
    if (n > 0) {
      const list = entries + ((<usize>first) << 3);
      dots(wDec + o, list, n, g, scratch + VALUE, width, stride);
      if (gated) dots(wDec + o, list, n, g2, scratch + GATE, width, stride);
      gather(scratch, compact(list, n, scratch, rowFactors, stride), g, g2, centered, gEnc + o, gDec + o, stride);
    }
    storeSums(at, gVectors, span, gNorms, gGates);
  }
}

/** Turns the gradients of values and gates in `scratch` into entries to gather, without those that would add nothing; returns how many. */
function compact(list: usize, n: i32, scratch: usize, rowFactors: usize, stride: usize): i32 {
  let kept = 0;
  for (let j = 0; j < n; j++) {
    const from = scratch + ((<usize>j) << 4);
    const p = load<f32>(list + ((<usize>j) << 3));
    const b = load<u32>(list + ((<usize>j) << 3), 4);
    const gradient = differentiate(p, load<f32>(from, VALUE), gated ? load<f32>(from, GATE) : 0, load<f32>(rowFactors + ((<usize>b) << 2)));
    if (gradient == 0 && activation == 0) continue;
    const to = scratch + ((<usize>kept) << 4);
    store<f32>(to, activation, VALUE);
    store<f32>(to, p, GATE);
    store<f32>(to, gradient, GRADIENT);
    store<u32>(to, b * <u32>stride, ROW);
    kept++;
  }
  return kept;
}

// @ts-ignore: decorator
@inline
function storeSums(at: usize, gVectors: usize, span: usize, gNorms: usize, gGates: usize): void {
  store<f32>(gNorms + at, <f32>normSum);
  if (gated) {
    store<f32>(gVectors + at, <f32>magnitudeScaleSum);
    store<f32>(gVectors + span + at, <f32>magnitudeBiasSum);
    store<f32>(gGates + at, <f32>gateBiasSum);
  } else if (span) {
    store<f32>(gVectors + at, <f32>thresholdSum);
  }
}

/**
 * The same for a tile of latents whose codes are dense: gradients of values and gates, [rows] each a latent, lie in `slopes` as
 * {@link penalDense} laid out codes. Pre-activations become their own gradients, codes the values; the products come after.
 */
export function penalSlopes(block: usize, pre: usize, codes: usize, slopes: usize, codeRow: usize, first: i32, wEnc: usize, vectors: usize, gVectors: usize, span: usize, norms: usize, gNorms: usize, gGates: usize, rowFactors: usize, touched: usize, f0: i32, f1: i32, rows: i32, d: i32, stride: usize): void {
  beginStep(block);
  const gates = (<usize>rows) << 2;
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    beginLatent(vectors + at, span, load<f32>(wEnc + <usize>f * stride + ((<usize>d) << 2)), load<f32>(norms + at));
    const row = pre + at * <usize>rows;
    const code = codes + <usize>(f - first) * codeRow;
    const slope = slopes + <usize>(f - first) * codeRow;
    for (let b = 0; b < rows; b++) {
      const o = (<usize>b) << 2;
      const p = load<f32>(row + o);
      const gradient = differentiate(p, load<f32>(slope + o), gated ? load<f32>(slope + gates + o) : 0, load<f32>(rowFactors + o));
      store<f32>(code + o, activation);
      if (gated) store<f32>(code + gates + o, max<f32>(0, p));
      store<f32>(row + o, gradient);
    }
    store<u8>(touched + <usize>f, 1);
    storeSums(at, gVectors, span, gNorms, gGates);
  }
}

/**
 * What is left of the gradients of latents [f0, f1): the decoder norm's, the gate bias's, which a gated SAE keeps in the encoder's column d, and
 * the loss on the pre-activations of dead latents, preAct·mean relu(threshold - p)·‖wDec‖ over the rows. A dead latent has not
 * fired in this batch, so that all of its rows are below the threshold and their sum is that of the encoder's input, `inputSum`.
 * bDecColumns takes -Σ (gradient of p)·wEnc[f]. Adds the dead latents' loss to `deadLoss` (f64). Returns Σ of the squares of all gradients.
 */
export function penalFinish(wEnc: usize, wDec: usize, gEnc: usize, gDec: usize, touched: usize, vectors: usize, gVectors: usize, span: usize, vectorCount: i32, norms: usize, gNorms: usize, gGates: usize, isGated: i32, preAct: f32, since: usize, deadRows: f64, inputSum: usize, deadLoss: usize, rows: i32, bDecColumns: usize, f0: i32, f1: i32, d: i32, width: usize, stride: usize): f64 {
  const limit = <u64>deadRows;
  let squares: f64 = 0;
  let loss: f64 = 0;
  for (let f = f0; f < f1; f++) {
    const at = (<usize>f) << 2;
    const o = <usize>f * stride;
    const enc = gEnc + o;
    const dec = gDec + o;
    const norm = load<f32>(norms + at);
    let byNorm = load<f32>(gNorms + at);
    if (preAct > 0 && load<u64>(since + ((<usize>f) << 3)) >= limit) {
      if (!load<u8>(touched + <usize>f)) {
        memory.fill(enc, 0, stride);
        memory.fill(dec, 0, stride);
        store<u8>(touched + <usize>f, 1);
      }
      const short = load<f32>(vectors + at) * <f32>rows - dot(wEnc + o, inputSum, stride);
      loss += <f64>(preAct * norm * short);
      axpy(-preAct * norm, inputSum, enc, stride);
      byNorm += preAct * short;
      store<f32>(gVectors + at, load<f32>(gVectors + at) + preAct * norm * <f32>rows);
    }
    for (let i = 0; i < vectorCount; i++) {
      const value = load<f32>(gVectors + <usize>i * span + at);
      squares += <f64>(value * value);
    }
    if (!load<u8>(touched + <usize>f)) continue;
    const bias = enc + ((<usize>d) << 2);
    axpy(-load<f32>(bias), wEnc + o, bDecColumns, width);
    if (isGated) store<f32>(bias, load<f32>(gGates + at));
    if (byNorm != 0 && norm > 0) axpy(byNorm / norm, wDec + o, dec, width);
    squares += <f64>dot(enc, enc, stride) + <f64>dot(dec, dec, width);
  }
  store<f64>(deadLoss, load<f64>(deadLoss) + loss);
  return squares;
}
