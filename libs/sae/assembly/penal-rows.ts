import { reconstruct } from "./decode";
import { addInto, horizontalSum, madd } from "./vector";

/** out = Σ vals·wDec[idx] for rows [b0, b1); the entries of row b start at starts[b]. */
export function penalRows(vals: usize, idx: usize, starts: usize, wDec: usize, out: usize, b0: i32, b1: i32, width: usize, stride: usize): void {
  for (let b = b0; b < b1; b++) {
    const begin = load<u32>(starts + ((<usize>b) << 2));
    const n = <i32>(load<u32>(starts + ((<usize>b) << 2), 4) - begin);
    const o = (<usize>begin) << 2;
    reconstruct(out + <usize>b * stride, 0, vals + o, idx + o, n, wDec, width, stride);
  }
}

/** out += part for rows [b0, b1). */
export function penalAdd(part: usize, out: usize, b0: i32, b1: i32, width: usize, stride: usize): void {
  for (let b = b0; b < b1; b++) addInto(part + <usize>b * stride, out + <usize>b * stride, width);
}

/** Rows [b0, b1) of g hold z·wDec; they become gScale·(z·wDec + bDec - target), and columns takes their sum. Returns Σ error². */
export function penalErrors(g: usize, bDec: usize, target: usize, columns: usize, gScale: f32, b0: i32, b1: i32, width: usize, stride: usize): f64 {
  const scale = f32x4.splat(gScale);
  let loss: f64 = 0;
  for (let b = b0; b < b1; b++) {
    const row = g + <usize>b * stride;
    const t = target + <usize>b * stride;
    let s = f32x4.splat(0);
    for (let o: usize = 0; o < width; o += 16) {
      const e = f32x4.sub(f32x4.add(v128.load(row + o), v128.load(bDec + o)), v128.load(t + o));
      s = madd(e, e, s);
      const ge = f32x4.mul(e, scale);
      v128.store(row + o, ge);
      v128.store(columns + o, f32x4.add(v128.load(columns + o), ge));
    }
    loss += <f64>horizontalSum(s);
  }
  return loss;
}
