/**
 * target[r, f] = x[r] · weights[f] + bias[f], for x [rows, width], weights [features, width], target [rows, features].
 * Sums run in f64 in a fixed order, whatever the number of rows.
 */
export function project(x: Float32Array, weights: Float32Array, bias: Float32Array, width: number, target: Float32Array): void {
  const rows = x.length / width;
  const features = weights.length / width;
  const fullRows = rows - (rows % 4);
  const fullFeatures = features - (features % 2);
  for (let f = 0; f < fullFeatures; f += 2) {
    for (let r = 0; r < fullRows; r += 4) tile(x, weights, bias, width, features, r, f, target);
    for (let r = fullRows; r < rows; r++) {
      target[r * features + f] = dot(x, r * width, weights, f * width, width) + bias[f]!;
      target[r * features + f + 1] = dot(x, r * width, weights, (f + 1) * width, width) + bias[f + 1]!;
    }
  }
  for (let f = fullFeatures; f < features; f++) {
    for (let r = 0; r < rows; r++) target[r * features + f] = dot(x, r * width, weights, f * width, width) + bias[f]!;
  }
}

// Four rows by two features: eight sums live in registers, and each weight is read once for four rows.
function tile(x: Float32Array, weights: Float32Array, bias: Float32Array, width: number, features: number, r: number, f: number, target: Float32Array): void {
  let a0 = 0, a1 = 0, b0 = 0, b1 = 0, c0 = 0, c1 = 0, d0 = 0, d1 = 0;
  const w0 = f * width;
  const w1 = w0 + width;
  const xa = r * width;
  const xb = xa + width;
  const xc = xb + width;
  const xd = xc + width;
  for (let j = 0; j < width; j++) {
    const u = weights[w0 + j]!;
    const v = weights[w1 + j]!;
    const a = x[xa + j]!;
    const b = x[xb + j]!;
    const c = x[xc + j]!;
    const d = x[xd + j]!;
    a0 += u * a;
    a1 += v * a;
    b0 += u * b;
    b1 += v * b;
    c0 += u * c;
    c1 += v * c;
    d0 += u * d;
    d1 += v * d;
  }
  const p = bias[f]!;
  const q = bias[f + 1]!;
  let to = r * features + f;
  target[to] = a0 + p;
  target[to + 1] = a1 + q;
  to += features;
  target[to] = b0 + p;
  target[to + 1] = b1 + q;
  to += features;
  target[to] = c0 + p;
  target[to + 1] = c1 + q;
  to += features;
  target[to] = d0 + p;
  target[to + 1] = d1 + q;
}

function dot(x: Float32Array, xAt: number, w: Float32Array, wAt: number, width: number): number {
  let sum = 0;
  for (let j = 0; j < width; j++) sum += x[xAt + j]! * w[wAt + j]!;
  return sum;
}
