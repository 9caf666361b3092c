/**
 * The gao formulation in plain f64, dense and without shortcuts: what the trainer is held against.
 * Gao et al. 2024 (arXiv 2406.04093) as in OpenAI's train.py, with AuxK's target detached and without b_dec; batchtopk: Bussmann
 * et al. 2024 (arXiv 2412.06410); nested levels: Bussmann et al. 2025 (arXiv 2503.17547).
 */
export interface ReferenceOptions {
  readonly d: number;
  readonly h: number;
  /** Features a row, or a mean row for batchtopk, at a step from 0. */
  readonly k: number | ((step: number) => number);
  readonly selection?: "topk" | "abstopk" | "batchtopk" | undefined;
  /** Latents of nested reconstructions, the last of them h. */
  readonly widths?: readonly number[] | undefined;
  /** A transcoder: rows have d + dOut columns. */
  readonly dOut?: number | undefined;
  readonly outputScale?: number | undefined;
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
  /** Of the levels within. */
  readonly innerLoss: number;
  readonly auxLoss: number;
  readonly numDead: number;
  readonly l0: number;
  readonly fvu: number;
  readonly gradNorm: number;
  readonly clipped: boolean;
  /** The smallest value kept, if any. */
  readonly smallest: number;
}

type Parameters = Record<"wEnc" | "bEnc" | "wDec" | "bDec" | "wSkip", Float64Array>;
type Start = Record<Exclude<keyof Parameters, "wSkip">, ArrayLike<number>> & { readonly wSkip?: ArrayLike<number> | undefined };
const names = ["wEnc", "bEnc", "wDec", "bDec", "wSkip"] as const;

export class ReferenceTrainer {
  readonly parameters: Parameters;
  readonly #options: ReferenceOptions;
  readonly #dOut: number;
  readonly #m: Parameters;
  readonly #v: Parameters;
  readonly #since: Float64Array;
  #step = 0;

  constructor(options: ReferenceOptions, start: Start) {
    this.#options = options;
    this.#dOut = options.dOut ?? options.d;
    const copy = (from: (name: keyof Parameters) => ArrayLike<number>): Parameters => ({
      wEnc: Float64Array.from(from("wEnc")),
      bEnc: Float64Array.from(from("bEnc")),
      wDec: Float64Array.from(from("wDec")),
      bDec: Float64Array.from(from("bDec")),
      wSkip: Float64Array.from(from("wSkip")),
    });
    this.parameters = copy((name) => start[name] ?? []);
    this.#m = copy((name) => new Float64Array(start[name]?.length ?? 0));
    this.#v = copy((name) => new Float64Array(start[name]?.length ?? 0));
    this.#since = new Float64Array(options.h);
  }

  step(raw: ArrayLike<number>): ReferenceStep {
    const { d, h, rows, kAux, auxLossCoefficient, deadTokens, mseScale, clip, selection = "topk", widths = [h] } = this.#options;
    const k = typeof this.#options.k === "number" ? this.#options.k : this.#options.k(this.#step);
    const dOut = this.#dOut;
    const { wEnc, bEnc, wDec, bDec, wSkip } = this.parameters;
    const gradient: Parameters = { wEnc: new Float64Array(h * d), bEnc: new Float64Array(h), wDec: new Float64Array(h * dOut), bDec: new Float64Array(dOut), wSkip: new Float64Array(wSkip.length) };
    const { input, target } = this.#rows(raw);
    const pre = new Float64Array(rows * h);
    for (let b = 0; b < rows; b++) for (let f = 0; f < h; f++) pre[b * h + f] = bEnc[f]! + product(input, b * d, wEnc, f * d, d);
    const z = selection === "batchtopk" ? batchTopK(pre, Math.round(k * rows)) : topK(pre, rows, h, Math.round(k), () => true, selection === "abstopk");

    for (let f = 0; f < h; f++) {
      let fired = false;
      for (let b = 0; b < rows; b++) if (z[b * h + f] !== 0) fired = true;
      this.#since[f] = fired ? 0 : this.#since[f]! + rows;
    }
    const dead = Array.from(this.#since, (since) => since >= deadTokens);
    const numDead = dead.filter(Boolean).length;

    let innerLoss = 0;
    let mseLoss = 0;
    let error = new Float64Array(0);
    for (const width of widths) {
      const within = z.map((value, i) => (i % h < width ? value : 0));
      error = new Float64Array(rows * dOut);
      for (let b = 0; b < rows; b++) {
        for (let i = 0; i < dOut; i++) {
          const skipped = wSkip.length === 0 ? 0 : product(input, b * d, wSkip, i * d, d);
          error[b * dOut + i] = decoded(within, wDec, b, i, h, dOut) + bDec[i]! + skipped - target[b * dOut + i]!;
        }
      }
      innerLoss += mseLoss;
      mseLoss = mseScale * meanSquare(error);
      const g = error.map((value) => ((2 * mseScale) / (rows * dOut)) * value);
      for (let i = 0; i < rows * dOut; i++) gradient.bDec[i % dOut]! += g[i]!;
      if (wSkip.length > 0) for (let b = 0; b < rows; b++) for (let i = 0; i < dOut; i++) for (let j = 0; j < d; j++) gradient.wSkip[i * d + j]! += g[b * dOut + i]! * input[b * d + j]!;
      this.#backward(within, g, input, gradient);
    }

    let auxLoss = 0;
    const used = Math.min(kAux, numDead);
    const residual = error.map((value) => -value);
    const variance = columnVariance(residual, rows, dOut);
    if (used > 0 && variance > 0) {
      const za = topK(pre, rows, h, used, (f) => dead[f]!, selection === "abstopk");
      const q = new Float64Array(rows * dOut);
      for (let b = 0; b < rows; b++) for (let i = 0; i < dOut; i++) q[b * dOut + i] = decoded(za, wDec, b, i, h, dOut) - residual[b * dOut + i]!;
      auxLoss = (auxLossCoefficient * meanSquare(q)) / variance;
      const scale = (2 * auxLossCoefficient) / (rows * dOut * variance);
      this.#backward(za, q.map((value) => scale * value), input, gradient);
    }

    for (let f = 0; f < h; f++) {
      const along = product(gradient.wDec, f * dOut, wDec, f * dOut, dOut);
      for (let i = 0; i < dOut; i++) gradient.wDec[f * dOut + i]! -= along * wDec[f * dOut + i]!;
    }
    const gradNorm = Math.sqrt(Object.values(gradient).reduce((sum, values) => sum + squares(values), 0));
    const factor = clip > 0 ? Math.min(1, clip / (gradNorm + 1e-6)) : 1;
    this.#adam(gradient, factor);
    for (let f = 0; f < h; f++) {
      const norm = Math.sqrt(product(wDec, f * dOut, wDec, f * dOut, dOut));
      for (let i = 0; i < dOut; i++) wDec[f * dOut + i]! /= norm;
    }
    const kept = z.filter((value) => value !== 0);
    const fvu = meanSquare(error) / columnVariance(target, rows, dOut);
    return { mseLoss, innerLoss, auxLoss, numDead, l0: kept.length / rows, fvu, gradNorm, clipped: factor < 1, smallest: kept.reduce((least, value) => Math.min(least, value), Infinity) };
  }

  /** The encoder's input and what is to be reconstructed. */
  #rows(raw: ArrayLike<number>): { readonly input: Float64Array; readonly target: Float64Array } {
    const { d, dOut, rows, inputScale, outputScale = 1 } = this.#options;
    if (dOut === undefined) {
      const target = this.#normalize(raw);
      return { input: target.map((value, i) => value - this.parameters.bDec[i % d]!), target };
    }
    const width = d + dOut;
    const columns = (from: number, count: number, scale: number): Float64Array =>
      Float64Array.from({ length: rows * count }, (_, i) => raw[Math.floor(i / count) * width + from + (i % count)]! * scale);
    return { input: columns(0, d, inputScale), target: columns(d, dOut, outputScale) };
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

  #backward(z: Float64Array, g: Float64Array, input: Float64Array, gradient: Parameters): void {
    const { d, h, rows, dOut: transcoder } = this.#options;
    const dOut = this.#dOut;
    const { wEnc, wDec } = this.parameters;
    for (let b = 0; b < rows; b++) {
      for (let f = 0; f < h; f++) {
        const value = z[b * h + f]!;
        if (value === 0) continue;
        const dz = product(g, b * dOut, wDec, f * dOut, dOut);
        gradient.bEnc[f]! += dz;
        for (let i = 0; i < dOut; i++) gradient.wDec[f * dOut + i]! += value * g[b * dOut + i]!;
        for (let i = 0; i < d; i++) {
          gradient.wEnc[f * d + i]! += dz * input[b * d + i]!;
          if (transcoder === undefined) gradient.bDec[i]! -= dz * wEnc[f * d + i]!;
        }
      }
    }
  }

  #adam(gradient: Parameters, factor: number): void {
    const { beta1, beta2, epsilon, weightDecay, lr } = this.#options;
    const rate = lr(this.#step);
    const t = ++this.#step;
    for (const name of names) {
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

function topK(pre: Float64Array, rows: number, h: number, k: number, allowed: (f: number) => boolean, signed: boolean): Float64Array {
  const kept = new Float64Array(rows * h);
  const size = (value: number): number => (signed ? Math.abs(value) : value);
  for (let b = 0; b < rows; b++) {
    const order = Array.from({ length: h }, (_, f) => f).filter(allowed).sort((one, other) => size(pre[b * h + other]!) - size(pre[b * h + one]!));
    for (const f of order.slice(0, k)) kept[b * h + f] = signed ? pre[b * h + f]! : Math.max(0, pre[b * h + f]!);
  }
  return kept;
}

function batchTopK(pre: Float64Array, n: number): Float64Array {
  const kept = new Float64Array(pre.length);
  const order = Array.from(pre, (_, i) => i).sort((one, other) => pre[other]! - pre[one]!);
  for (const i of order.slice(0, n)) kept[i] = Math.max(0, pre[i]!);
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
