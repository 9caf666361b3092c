/**
 * Rows [b0, b1) of pairs, d columns of input and dOut of output: centered = inputScale·input with 1 in column d, where the encoder's
 * rows hold their bias, and target = outputScale·output. Padding is zero.
 */
export function preparePairs(x: usize, target: usize, centered: usize, inputScale: f32, outputScale: f32, b0: i32, b1: i32, d: i32, dOut: i32, stride: usize, pairStride: usize): void {
  for (let b = b0; b < b1; b++) {
    const row = x + <usize>b * pairStride;
    const input = centered + <usize>b * stride;
    scaleRow(row, input, inputScale, d, stride);
    store<f32>(input + ((<usize>d) << 2), 1);
    scaleRow(row + ((<usize>d) << 2), target + <usize>b * stride, outputScale, dOut, stride);
  }
}

/** Writes scale·from over the first d columns and zero over the rest of a row. */
function scaleRow(from: usize, to: usize, scale: f32, d: i32, stride: usize): void {
  const s = f32x4.splat(scale);
  const end = (<usize>d) << 2;
  let o: usize = 0;
  for (; o + 16 <= end; o += 16) v128.store(to + o, f32x4.mul(v128.load(from + o), s));
  for (; o < end; o += 4) store<f32>(to + o, load<f32>(from + o) * scale);
  memory.fill(to + o, 0, stride - o);
}
