/**
 * The gao formulation in plain f64, dense and without shortcuts: what the trainer is held against.
 * Gao et al. 2024 (arXiv 2406.04093) as in OpenAI's train.py, with AuxK's target detached and without b_dec.
 */
export interface ReferenceOptions {
  readonly d: number;
  readonly h: number;
  readonly k: number;
  readonly rows: number;
  readonly kAux: number;
  readonly auxLossCoefficient: number;
  readonly deadTokens: number;
  readonly mseScale: number;
  readonly inputScale: number;
  readonly normalize: "none" | "scale" | "layer_norm" | "constant_norm_rescale";
  readonly lr: (step: number) => number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** 0: never. */
  readonly clip: number;
}

export interface ReferenceStep {
  readonly mseLoss: number;
  readonly auxLoss: number;
  readonly numDead: number;
  readonly fvu: number;
  readonly gradNorm: number;
  readonly clipped: boolean;
  /** Before projection and clipping: the auxiliary loss's part of the encoder's gradient. */
  readonly auxEncoderGradient: Float64Array;
}

type Parameters = Record<"wEnc" | "bEnc" | "wDec" | "bDec", Float64Array>;

export class ReferenceTrainer {
  readonly parameters: Parameters;
  readonly #options: ReferenceOptions;
  readonly #m: Parameters;
  readonly #v: Parameters;
  readonly #since: Float64Array;
  #step = 0;

  constructor(options: ReferenceOptions, start: Record<keyof Parameters, ArrayLike<number>>) {
    this.#options = options;
    const copy = (from: (name: keyof Parameters) => ArrayLike<number>): Parameters => ({
      wEnc: Float64Array.from(from("wEnc")),
      bEnc: Float64Array.from(from("bEnc")),
      wDec: Float64Array.from(from("wDec")),
      bDec: Float64Array.from(from("bDec")),
    });
    this.parameters = copy((name) => start[name]);
    this.#m = copy((name) => new Float64Array(start[name].length));
    this.#v = copy((name) => new Float64Array(start[name].length));
    this.#since = new Float64Array(options.h);
  }

  step(raw: ArrayLike<number>): ReferenceStep {
    const { d, h, k, rows, kAux, auxLossCoefficient, deadTokens, mseScale, clip } = this.#options;
    const { wEnc, bEnc, wDec, bDec } = this.parameters;
    const gradient: Parameters = { wEnc: new Float64Array(h * d), bEnc: new Float64Array(h), wDec: new Float64Array(h * d), bDec: new Float64Array(d) };
    const auxEncoderGradient = new Float64Array(h * d);
    const x = this.#normalize(raw);
    const centered = x.map((value, i) => value - bDec[i % d]!);
    const pre = new Float64Array(rows * h);
    for (let b = 0; b < rows; b++) for (let f = 0; f < h; f++) pre[b * h + f] = bEnc[f]! + product(centered, b * d, wEnc, f * d, d);
    const z = topK(pre, rows, h, k, () => true);
    const error = new Float64Array(rows * d);
    for (let b = 0; b < rows; b++) for (let i = 0; i < d; i++) error[b * d + i] = decoded(z, wDec, b, i, h, d) + bDec[i]! - x[b * d + i]!;
    const mseLoss = mseScale * meanSquare(error);

    for (let f = 0; f < h; f++) {
      let fired = false;
      for (let b = 0; b < rows; b++) if (z[b * h + f]! > 0) fired = true;
      this.#since[f] = fired ? 0 : this.#since[f]! + rows;
    }
    const dead = Array.from(this.#since, (since) => since >= deadTokens);
    const numDead = dead.filter(Boolean).length;

    const g = error.map((value) => ((2 * mseScale) / (rows * d)) * value);
    for (let i = 0; i < rows * d; i++) gradient.bDec[i % d]! += g[i]!;
    this.#backward(z, g, centered, gradient, undefined);

    let auxLoss = 0;
    const used = Math.min(kAux, numDead);
    const residual = error.map((value) => -value);
    const variance = columnVariance(residual, rows, d);
    if (used > 0 && variance > 0) {
      const za = topK(pre, rows, h, used, (f) => dead[f]!);
      const q = new Float64Array(rows * d);
      for (let b = 0; b < rows; b++) for (let i = 0; i < d; i++) q[b * d + i] = decoded(za, wDec, b, i, h, d) - residual[b * d + i]!;
      auxLoss = (auxLossCoefficient * meanSquare(q)) / variance;
      const scale = (2 * auxLossCoefficient) / (rows * d * variance);
      this.#backward(za, q.map((value) => scale * value), centered, gradient, auxEncoderGradient);
    }

    for (let f = 0; f < h; f++) {
      const along = product(gradient.wDec, f * d, wDec, f * d, d);
      for (let i = 0; i < d; i++) gradient.wDec[f * d + i]! -= along * wDec[f * d + i]!;
    }
    const gradNorm = Math.sqrt(Object.values(gradient).reduce((sum, values) => sum + squares(values), 0));
    const factor = clip > 0 ? Math.min(1, clip / (gradNorm + 1e-6)) : 1;
    this.#adam(gradient, factor);
    for (let f = 0; f < h; f++) {
      const norm = Math.sqrt(product(wDec, f * d, wDec, f * d, d));
      for (let i = 0; i < d; i++) wDec[f * d + i]! /= norm;
    }
    return { mseLoss, auxLoss, numDead, fvu: meanSquare(error) / columnVariance(x, rows, d), gradNorm, clipped: factor < 1, auxEncoderGradient };
  }

  #normalize(raw: ArrayLike<number>): Float64Array {
    const { d, rows, normalize, inputScale } = this.#options;
    const x = Float64Array.from(raw);
    if (normalize === "none") return x;
    if (normalize === "scale") return x.map((value) => value * inputScale);
    for (let b = 0; b < rows; b++) {
      const row = x.subarray(b * d, (b + 1) * d);
      if (normalize === "layer_norm") {
        const mean = row.reduce((sum, value) => sum + value, 0) / d;
        const std = Math.sqrt(row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (d - 1));
        row.forEach((value, i) => (row[i] = (value - mean) / (std + 1e-5)));
      } else {
        const norm = Math.sqrt(squares(row));
        row.forEach((value, i) => (row[i] = (value * Math.sqrt(d)) / norm));
      }
    }
    return x;
  }

  #backward(z: Float64Array, g: Float64Array, centered: Float64Array, gradient: Parameters, encoderOnly: Float64Array | undefined): void {
    const { d, h, rows } = this.#options;
    const { wEnc, wDec } = this.parameters;
    for (let b = 0; b < rows; b++) {
      for (let f = 0; f < h; f++) {
        const value = z[b * h + f]!;
        if (value <= 0) continue;
        const dz = product(g, b * d, wDec, f * d, d);
        gradient.bEnc[f]! += dz;
        for (let i = 0; i < d; i++) {
          gradient.wDec[f * d + i]! += value * g[b * d + i]!;
          gradient.wEnc[f * d + i]! += dz * centered[b * d + i]!;
          if (encoderOnly !== undefined) encoderOnly[f * d + i]! += dz * centered[b * d + i]!;
          gradient.bDec[i]! -= dz * wEnc[f * d + i]!;
        }
      }
    }
  }

  #adam(gradient: Parameters, factor: number): void {
    const { beta1, beta2, epsilon, weightDecay, lr } = this.#options;
    const rate = lr(this.#step);
    const t = ++this.#step;
    for (const name of ["wEnc", "bEnc", "wDec", "bDec"] as const) {
      const [p, m, v] = [this.parameters[name], this.#m[name], this.#v[name]];
      gradient[name].forEach((raw, i) => {
        const g = raw * factor;
        m[i] = beta1 * m[i]! + (1 - beta1) * g;
        v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
        p[i] = p[i]! * (1 - rate * weightDecay) - ((rate / (1 - beta1 ** t)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - beta2 ** t) + epsilon);
      });
    }
  }
}

function topK(pre: Float64Array, rows: number, h: number, k: number, allowed: (f: number) => boolean): Float64Array {
  const kept = new Float64Array(rows * h);
  for (let b = 0; b < rows; b++) {
    const order = Array.from({ length: h }, (_, f) => f).filter(allowed).sort((one, other) => pre[b * h + other]! - pre[b * h + one]!);
    for (const f of order.slice(0, k)) kept[b * h + f] = Math.max(0, pre[b * h + f]!);
  }
  return kept;
}

function decoded(z: Float64Array, wDec: Float64Array, b: number, i: number, h: number, d: number): number {
  let sum = 0;
  for (let f = 0; f < h; f++) sum += z[b * h + f]! * wDec[f * d + i]!;
  return sum;
}

function product(a: Float64Array, aAt: number, b: Float64Array, bAt: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[aAt + i]! * b[bAt + i]!;
  return sum;
}

function squares(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}

function meanSquare(values: Float64Array): number {
  return squares(values) / values.length;
}

/** mean((v - v̄)²), v̄ the mean of each column. */
function columnVariance(values: Float64Array, rows: number, d: number): number {
  const mean = new Float64Array(d);
  values.forEach((value, i) => (mean[i % d]! += value / rows));
  return values.reduce((sum, value, i) => sum + (value - mean[i % d]!) ** 2, 0) / values.length;
}
