import { dots } from "./decode";
import { horizontalSum, madd } from "./vector";

// The largest pre-activations by way of 8-bit scores; see src/training/preselection.ts for the bound that makes it exact.
// Row b of the batch: c = s·q + δc with q in [-127, 127]. Latent f: w = t·p + δw. A score y counts units of s·Y, from 0 to 255.

/** Latents of a tile of quantised weights, [columns, tileLatents] s8 each. */
const tileLatents: i32 = 256;
const together: i32 = 16;

/** Bytes of a row's bounds: f32 s, ‖δc‖, and one not below ‖q‖. */
const rowBoundBytes: usize = 16;

/** Largest |x| of a row. */
function largest(row: usize, bytes: usize): f32 {
  let m = f32x4.splat(0), n = m;
  let o: usize = 0;
  for (; o + 32 <= bytes; o += 32) {
    m = f32x4.max(m, f32x4.abs(v128.load(row + o)));
    n = f32x4.max(n, f32x4.abs(v128.load(row + o, 16)));
  }
  for (; o < bytes; o += 16) m = f32x4.max(m, f32x4.abs(v128.load(row + o)));
  m = f32x4.max(m, n);
  return max<f32>(max<f32>(f32x4.extract_lane(m, 0), f32x4.extract_lane(m, 1)), max<f32>(f32x4.extract_lane(m, 2), f32x4.extract_lane(m, 3)));
}

let lostSquares: f32 = 0;
let keptSquares: f32 = 0;

// @ts-ignore: decorator
@inline
function addSquares(x: v128, q: v128, scale: v128, sum: v128): v128 {
  const e = f32x4.sub(x, f32x4.mul(q, scale));
  return madd(e, e, sum);
}

/** Writes nearest(x / scale) as bytes, xor `flip`; leaves Σ(x - scale·q)² and Σx². A row without scale gives zeros. */
function quantizeRow(row: usize, out: usize, bytes: usize, scale: f32, flip: i32): void {
  const inverse = f32x4.splat(scale > 0 ? <f32>1 / scale : 0);
  const s = f32x4.splat(scale);
  const zero = i8x16.splat(<i8>flip);
  let l0 = f32x4.splat(0), l1 = l0, l2 = l0, l3 = l0, k0 = l0, k1 = l0, k2 = l0, k3 = l0;
  let o: usize = 0;
  for (; o + 64 <= bytes; o += 64) {
    const x0 = v128.load(row + o), x1 = v128.load(row + o, 16), x2 = v128.load(row + o, 32), x3 = v128.load(row + o, 48);
    const q0 = f32x4.nearest(f32x4.mul(x0, inverse)), q1 = f32x4.nearest(f32x4.mul(x1, inverse)), q2 = f32x4.nearest(f32x4.mul(x2, inverse)), q3 = f32x4.nearest(f32x4.mul(x3, inverse));
    l0 = addSquares(x0, q0, s, l0); l1 = addSquares(x1, q1, s, l1); l2 = addSquares(x2, q2, s, l2); l3 = addSquares(x3, q3, s, l3);
    k0 = madd(x0, x0, k0); k1 = madd(x1, x1, k1); k2 = madd(x2, x2, k2); k3 = madd(x3, x3, k3);
    const a = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(q0), i32x4.trunc_sat_f32x4_s(q1));
    const b = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(q2), i32x4.trunc_sat_f32x4_s(q3));
    v128.store(out + (o >> 2), v128.xor(i8x16.narrow_i16x8_s(a, b), zero));
  }
  for (; o < bytes; o += 16) {
    const x = v128.load(row + o);
    const q = f32x4.nearest(f32x4.mul(x, inverse));
    l0 = addSquares(x, q, s, l0);
    k0 = madd(x, x, k0);
    const i = i32x4.trunc_sat_f32x4_s(q);
    const a = i16x8.narrow_i32x4_s(i, i);
    v128.store32_lane(out + (o >> 2), v128.xor(i8x16.narrow_i16x8_s(a, a), zero), 0);
  }
  lostSquares = horizontalSum(f32x4.add(f32x4.add(l0, l1), f32x4.add(l2, l3)));
  keptSquares = horizontalSum(f32x4.add(f32x4.add(k0, k1), f32x4.add(k2, k3)));
}

/** Rows [b0, b1) of the encoder's input as bytes around 128, [batch, columns], with their bounds. Returns the largest ‖q‖. */
export function quantizeInputs(centered: usize, out: usize, bounds: usize, b0: i32, b1: i32, stride: usize): f64 {
  let most: f32 = 0;
  for (let b = b0; b < b1; b++) {
    const row = centered + <usize>b * stride;
    const scale = largest(row, stride) / 127;
    quantizeRow(row, out + <usize>b * (stride >> 2), stride, scale, 0x80);
    const norm = scale > 0 ? (sqrt<f32>(keptSquares) + sqrt<f32>(lostSquares)) / scale : 0;
    const p = bounds + <usize>b * rowBoundBytes;
    store<f32>(p, scale);
    store<f32>(p, sqrt<f32>(lostSquares), 4);
    store<f32>(p, norm, 8);
    most = max<f32>(most, norm);
  }
  return <f64>most;
}

// @ts-ignore: decorator
@inline
function low(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

// @ts-ignore: decorator
@inline
function high(a: v128, b: v128): v128 {
  return i8x16.shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/** Interleaves 16 vectors of bytes, `pitch` apart, by pairs half of them apart; four times over that transposes them. */
// @ts-ignore: decorator
@inline
function interleave(source: usize, pitch: usize, out: usize, outPitch: usize): void {
  for (let j: usize = 0; j < 8; j++) {
    const a = v128.load(source + j * pitch), b = v128.load(source + (j + 8) * pitch);
    v128.store(out + 2 * j * outPitch, low(a, b));
    v128.store(out + (2 * j + 1) * outPitch, high(a, b));
  }
}

/** 16 rows of bytes, `pitch` apart, become 16 columns: byte i of row j goes to out + i·width + j, for i below n. `spare`: 512 bytes. */
function transpose16(source: usize, pitch: usize, out: usize, width: usize, n: usize, spare: usize): void {
  for (let i: usize = 0; i < n; i += 16) {
    interleave(source + i, pitch, spare, 16);
    interleave(spare, 16, spare + 256, 16);
    interleave(spare + 256, 16, spare, 16);
    if (i + 16 <= n) {
      interleave(spare, 16, out + i * width, width);
    } else {
      interleave(spare, 16, spare + 256, 16);
      for (let j: usize = 0; j < n - i; j++) v128.store(out + (i + j) * width, v128.load(spare + 256 + (j << 4)));
    }
  }
}

/**
 * Tiles [t0, t1) of the encoder's rows as bytes, latents by columns, with the scale of every latent and, for every tile, the largest
 * ‖w‖ and ‖δw‖. `scratch`: 512 bytes and 16 rows of `columns`, and 16 more. h must be a multiple of 16. Returns Σ‖w‖².
 */
export function quantizeLatents(wEnc: usize, out: usize, scales: usize, tileBounds: usize, scratch: usize, t0: i32, t1: i32, h: i32, stride: usize): f64 {
  const columns = stride >> 2;
  let sum: f64 = 0;
  for (let t = t0; t < t1; t++) {
    const tile = out + <usize>t * tileLatents * columns;
    const width = min(tileLatents, h - t * tileLatents);
    let norm: f32 = 0, lost: f32 = 0;
    for (let g = 0; g < width; g += together) {
      for (let j = 0; j < together; j++) {
        const f = t * tileLatents + g + j;
        const row = wEnc + <usize>f * stride;
        const scale = largest(row, stride) / 127;
        quantizeRow(row, scratch + 512 + <usize>j * columns, stride, scale, 0);
        store<f32>(scales + ((<usize>f) << 2), scale);
        sum += <f64>keptSquares;
        norm = max<f32>(norm, keptSquares);
        lost = max<f32>(lost, lostSquares);
      }
      transpose16(scratch + 512, columns, tile + <usize>g, <usize>width, columns, scratch);
    }
    store<f32>(tileBounds + ((<usize>t) << 3), sqrt<f32>(norm));
    store<f32>(tileBounds + ((<usize>t) << 3), sqrt<f32>(lost), 4);
  }
  return sum;
}

/** Rounding of the score itself, with what its scaling in f32 loses. */
const roundingUnits: f32 = 0.52;
/** What a sum of up to 8192 products in f32 may lose of ‖c‖·‖w‖. */
const sumLoss: f32 = 2.5e-4;
/** More than any score: proves nothing, as do bounds that are not finite. */
const noBound: i32 = 256;

/** How far, in units, a row's scores in a tile may be from the exact value: ‖δc‖·‖w‖ + ‖s·q‖·‖δw‖; whole units, rounded up. */
// @ts-ignore: decorator
@inline
function errorUnits(bound: usize, tileBound: usize, unit: f32): i32 {
  const s = load<f32>(bound);
  const q = load<f32>(bound, 8);
  const norm = load<f32>(tileBound);
  const byInput = (load<f32>(bound, 4) / s) * norm;
  const byLatent = q * (load<f32>(tileBound, 4) + sumLoss * norm);
  const units = ceil<f32>(roundingUnits + (byInput + byLatent) * (<f32>1.0001) / unit);
  return units < <f32>noBound ? <i32>units : noBound;
}

/** A row's state: u32 floor, entries at or above the floor, length of its list, and whether the list overflowed. */
const stateBytes: usize = 16;

export function beginRows(state: usize, histograms: usize, b0: i32, b1: i32): void {
  memory.fill(state + <usize>b0 * stateBytes, 0, <usize>(b1 - b0) * stateBytes);
  memory.fill(histograms + ((<usize>b0) << 9), 0, (<usize>(b1 - b0)) << 9);
}

/**
 * Takes tile t's scores [b1 - b0, width] of rows [b0, b1): those that may be among a row's k largest go to its list, `capacity` u32 long,
 * as latent + score·2²⁴. A row's floor is the k-th largest of its scores less their error, so far: k exact values lie above it.
 */
export function scanTile(scores: usize, width: i32, t: i32, k: i32, bounds: usize, tileBounds: usize, unit: f32, state: usize, histograms: usize, lists: usize, capacity: i32, b0: i32, b1: i32): void {
  const first = t * tileLatents;
  const tileBound = tileBounds + ((<usize>t) << 3);
  for (let b = b0; b < b1; b++) {
    const row = scores + <usize>(b - b0) * <usize>width;
    const own = state + <usize>b * stateBytes;
    const histogram = histograms + ((<usize>b) << 9);
    const list = lists + <usize>b * ((<usize>capacity) << 2);
    const error = errorUnits(bounds + <usize>b * rowBoundBytes, tileBound, unit);
    let floor = <i32>load<u32>(own);
    let above = <i32>load<u32>(own, 4);
    let n = <i32>load<u32>(own, 8);
    let limit = i8x16.splat(<i8>max(1, floor - error));
    for (let o = 0; o < width; o += 16) {
      let hits = i8x16.bitmask(i8x16.ge_u(v128.load(row + <usize>o), limit));
      while (hits != 0) {
        const lane = ctz<i32>(hits);
        hits &= hits - 1;
        const y = <i32>load<u8>(row + <usize>(o + lane));
        if (n == capacity) {
          store<u32>(own, 1, 12);
          break;
        }
        store<u32>(list + ((<usize>n) << 2), <u32>(first + o + lane) | ((<u32>y) << 24));
        n++;
        const low = y - error;
        if (low < floor || low < 0) continue;
        above++;
        const slot = histogram + ((<usize>low) << 1);
        store<u16>(slot, load<u16>(slot) + 1);
        let atFloor = <i32>load<u16>(histogram + ((<usize>floor) << 1));
        if (above - atFloor < k) continue;
        while (above - atFloor >= k) {
          above -= atFloor;
          floor++;
          atFloor = <i32>load<u16>(histogram + ((<usize>floor) << 1));
        }
        limit = i8x16.splat(<i8>max(1, floor - error));
      }
    }
    store<u32>(own, <u32>floor);
    store<u32>(own, <u32>above, 4);
    store<u32>(own, <u32>n, 8);
  }
}

/** Sinks the root of a heap with its smallest value on top. */
function sink(vals: usize, idx: usize, n: i32): void {
  const v = load<f32>(vals);
  const f = load<u32>(idx);
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= n) break;
    if (child + 1 < n && load<f32>(vals + ((<usize>child) << 2), 4) < load<f32>(vals + ((<usize>child) << 2))) child++;
    const smaller = load<f32>(vals + ((<usize>child) << 2));
    if (!(smaller < v)) break;
    store<f32>(vals + ((<usize>at) << 2), smaller);
    store<u32>(idx + ((<usize>at) << 2), load<u32>(idx + ((<usize>child) << 2)));
    at = child;
  }
  store<f32>(vals + ((<usize>at) << 2), v);
  store<u32>(idx + ((<usize>at) << 2), f);
}

/** Offers n values to a heap that holds `filled` of at most k; returns how many it holds then. */
function offer(vals: usize, idx: usize, filled: i32, k: i32, newVals: usize, newIdx: usize, n: i32): i32 {
  let size = filled;
  for (let i = 0; i < n; i++) {
    const v = load<f32>(newVals + ((<usize>i) << 2));
    const f = load<u32>(newIdx + ((<usize>i) << 2));
    if (size < k) {
      // Grows upwards: the value rises until its parent is smaller.
      let at = size++;
      while (at > 0) {
        const parent = (at - 1) >> 1;
        const above = load<f32>(vals + ((<usize>parent) << 2));
        if (!(v < above)) break;
        store<f32>(vals + ((<usize>at) << 2), above);
        store<u32>(idx + ((<usize>at) << 2), load<u32>(idx + ((<usize>parent) << 2)));
        at = parent;
      }
      store<f32>(vals + ((<usize>at) << 2), v);
      store<u32>(idx + ((<usize>at) << 2), f);
    } else if (v > load<f32>(vals)) {
      store<f32>(vals, v);
      store<u32>(idx, f);
      sink(vals, idx, k);
    }
  }
  return size;
}

/**
 * Computes the exact values of what rows [b0, b1) have listed and keeps the k largest in vals and idx, [batch, k]. First the entries whose
 * error keeps them above the floor, k at least; then those that may still beat the smallest that was kept. `scratch` holds 2·capacity
 * u32, and two more at its start. Rows whose list overflowed or is too short, or whose smallest value a score of 0 could beat, go to
 * `failed`; returns how many.
 */
export function finishRows(centered: usize, wEnc: usize, k: i32, bounds: usize, tileBounds: usize, tiles: i32, unit: f32, state: usize, lists: usize, capacity: i32, scratch: usize, vals: usize, idx: usize, failed: usize, b0: i32, b1: i32, stride: usize): i32 {
  const worst = scratch;
  const chosen = scratch + 8;
  const exact = chosen + ((<usize>capacity) << 2);
  let norm: f32 = 0, lost: f32 = 0;
  for (let t = 0; t < tiles; t++) {
    norm = max<f32>(norm, load<f32>(tileBounds + ((<usize>t) << 3)));
    lost = max<f32>(lost, load<f32>(tileBounds + ((<usize>t) << 3), 4));
  }
  store<f32>(worst, norm);
  store<f32>(worst, lost, 4);
  let failures = 0;
  for (let b = b0; b < b1; b++) {
    const own = state + <usize>b * stateBytes;
    const floor = <i32>load<u32>(own);
    const length = <i32>load<u32>(own, 8);
    const list = lists + <usize>b * ((<usize>capacity) << 2);
    const bound = bounds + <usize>b * rowBoundBytes;
    const c = centered + <usize>b * stride;
    const v = vals + <usize>b * ((<usize>k) << 2);
    const i = idx + <usize>b * ((<usize>k) << 2);
    if (load<u32>(own, 12) != 0 || <i32>load<u32>(own, 4) < k ) {
      store<u32>(failed + ((<usize>failures) << 2), <u32>b);
      failures++;
      continue;
    }
    let n = 0, rest = 0, tile = -1, error = 0;
    for (let j = 0; j < length; j++) {
      const entry = load<u32>(list + ((<usize>j) << 2));
      const f = entry & 0xffffff;
      const y = <i32>(entry >> 24);
      if (<i32>(f >> 8) != tile) {
        tile = <i32>(f >> 8);
        error = errorUnits(bound, tileBounds + ((<usize>tile) << 3), unit);
      }
      if (y - error >= floor) {
        store<u32>(chosen + ((<usize>n) << 2), f);
        n++;
      } else if (y == 255 || y + error >= floor) {
        store<u32>(list + ((<usize>rest) << 2), entry);
        rest++;
      }
    }
    dots(c, chosen, exact, n, wEnc, stride, stride);
    const size = offer(v, i, 0, k, exact, chosen, n);
    const least = load<f32>(v) / (load<f32>(bound) * unit);
    n = 0;
    tile = -1;
    for (let j = 0; j < rest; j++) {
      const entry = load<u32>(list + ((<usize>j) << 2));
      const f = entry & 0xffffff;
      const y = <i32>(entry >> 24);
      if (<i32>(f >> 8) != tile) {
        tile = <i32>(f >> 8);
        error = errorUnits(bound, tileBounds + ((<usize>tile) << 3), unit);
      }
      if (y != 255 && <f32>(y + error) < least) continue;
      store<u32>(chosen + ((<usize>n) << 2), f);
      n++;
    }
    dots(c, chosen, exact, n, wEnc, stride, stride);
    offer(v, i, size, k, exact, chosen, n);
    // Scores of 0 are not listed.
    if (!(load<f32>(v) / (load<f32>(bound) * unit) > <f32>errorUnits(bound, worst, unit))) {
      store<u32>(failed + ((<usize>failures) << 2), <u32>b);
      failures++;
    }
  }
  return failures;
}
