import type { ResolvedTrainerConfig } from "../../src/training/config.ts";
import { learningRate } from "../../src/training/schedule.ts";

/** Parameters in the trainer's own space. `vectors`: threshold (jumprelu), r_mag and b_mag (gated); a gated SAE's bEnc is its b_gate. */
export type PenalisedParameters = Record<"wEnc" | "bEnc" | "wDec" | "bDec" | "threshold" | "rMag" | "bMag", Float64Array>;

export interface PenalisedReferenceStep {
  readonly mseLoss: number;
  readonly sparsityLoss: number;
  readonly auxLoss: number;
  readonly l0: number;
  readonly numDead: number;
  readonly gradNorm: number;
}

const names = ["wEnc", "bEnc", "wDec", "bDec", "threshold", "rMag", "bMag"] as const;

/**
 * SAELens' training of standard, gated and jumprelu SAEs in plain f64, dense and without shortcuts; rows are taken as they enter the
 * SAE. Dead latents are decided with the batch counted.
 */
export class PenalisedReference {
  readonly parameters: PenalisedParameters;
  readonly #config: ResolvedTrainerConfig;
  readonly #mseScale: number;
  readonly #m: PenalisedParameters;
  readonly #v: PenalisedParameters;
  readonly #since: Float64Array;
  #step = 0;

  constructor(config: ResolvedTrainerConfig, mseScale: number, start: Partial<Record<(typeof names)[number], ArrayLike<number>>>) {
    const { dIn: d, dSae: h } = config;
    const sizes: Record<(typeof names)[number], number> = { wEnc: h * d, bEnc: h, wDec: h * d, bDec: d, threshold: h, rMag: h, bMag: h };
    const make = (of: (name: (typeof names)[number]) => Float64Array): PenalisedParameters => Object.fromEntries(names.map((name) => [name, of(name)])) as PenalisedParameters;
    const zeros = (): PenalisedParameters => make((name) => new Float64Array(sizes[name]));
    this.#config = config;
    this.#mseScale = mseScale;
    this.parameters = make((name) => (start[name] === undefined ? new Float64Array(sizes[name]) : Float64Array.from(start[name])));
    this.#m = zeros();
    this.#v = zeros();
    this.#since = new Float64Array(h);
  }

  step(x: ArrayLike<number>): PenalisedReferenceStep {
    const { architecture, dIn: d, dSae: h, trainBatchSizeTokens: rows, lpNorm: p, jumpreluBandwidth: bandwidth, jumpreluTanhScale: s } = this.#config;
    const { jumpreluSteToInput, jumpreluSparsityLossMode: mode, preActLossCoefficient, deadFeatureWindowTokens, gradClipNorm } = this.#config;
    const { wEnc, bEnc, wDec, bDec, threshold, rMag, bMag } = this.parameters;
    const g: PenalisedParameters = Object.fromEntries(names.map((name) => [name, new Float64Array(this.parameters[name].length)])) as PenalisedParameters;
    const [jump, gated] = [architecture === "jumprelu", architecture === "gated"];
    const [full, warmUp] = jump ? [this.#config.l0Coefficient, this.#config.l0WarmUpSteps] : [this.#config.l1Coefficient, this.#config.l1WarmUpSteps];
    const lambda = (this.#step < warmUp ? (full * this.#step) / warmUp : full) / rows;
    const centered = Float64Array.from(x, (value, i) => value - bDec[i % d]!);
    const norm = Float64Array.from({ length: h }, (_, f) => Math.hypot(...wDec.subarray(f * d, (f + 1) * d)));
    const pre = new Float64Array(rows * h);
    const z = new Float64Array(rows * h);
    const gate = new Float64Array(rows * h);
    for (let b = 0; b < rows; b++) {
      for (let f = 0; f < h; f++) {
        const at = b * h + f;
        const product = dot(centered, b * d, wEnc, f * d, d);
        pre[at] = product + bEnc[f]!;
        if (gated) {
          gate[at] = Math.max(0, pre[at]!);
          z[at] = pre[at]! > 0 ? Math.max(0, Math.exp(rMag[f]!) * product + bMag[f]!) : 0;
        } else z[at] = pre[at]! > threshold[f]! ? pre[at]! : 0;
      }
    }
    const decode = (code: Float64Array): Float64Array => {
      const error = new Float64Array(rows * d);
      for (let b = 0; b < rows; b++) {
        for (let i = 0; i < d; i++) error[b * d + i] = bDec[i]! - x[b * d + i]!;
        for (let f = 0; f < h; f++) if (code[b * h + f] !== 0) for (let i = 0; i < d; i++) error[b * d + i]! += code[b * h + f]! * wDec[f * d + i]!;
      }
      return error;
    };
    const scale = this.#mseScale / (rows * d);
    const error = decode(z);
    const gateError = gated ? decode(gate) : new Float64Array(rows * d);
    const mseLoss = scale * squares(error);
    let auxLoss = scale * squares(gateError);
    const main = error.map((value) => 2 * scale * value);
    const ofGate = gateError.map((value) => 2 * scale * value);

    let fired = 0;
    for (let f = 0; f < h; f++) {
      let any = false;
      for (let b = 0; b < rows; b++) if (z[b * h + f]! > 0) [any, fired] = [true, fired + 1];
      this.#since[f] = any ? 0 : this.#since[f]! + rows;
    }
    const dead = this.#since.map((since) => (since >= deadFeatureWindowTokens ? 1 : 0));

    let sparsityLoss = 0;
    const normGradient = new Float64Array(h);
    for (let b = 0; b < rows; b++) {
      const code = gated ? gate : z;
      let power = 0;
      for (let f = 0; f < h; f++) power += (code[b * h + f]! * norm[f]!) ** p;
      const total = power ** (1 / p);
      if (!jump) sparsityLoss += lambda * total;
      for (let f = 0; f < h; f++) {
        const at = b * h + f;
        let slope = 0;
        if (!jump) slope = code[at]! > 0 ? lambda * (code[at]! * norm[f]!) ** (p - 1) * total ** (1 - p) : 0;
        else if (mode === "tanh") {
          const t = Math.tanh(s * z[at]! * norm[f]!);
          sparsityLoss += lambda * t;
          slope = lambda * s * (1 - t * t);
        } else if (pre[at]! > threshold[f]!) sparsityLoss += lambda;
        normGradient[f]! += slope * code[at]!;
        let dPre = 0;
        const dz = dot(main, b * d, wDec, f * d, d);
        if (gated) {
          const product = pre[at]! - bEnc[f]!;
          const through = z[at]! > 0 ? dz : 0;
          const dGate = gate[at]! > 0 ? dot(ofGate, b * d, wDec, f * d, d) + slope * norm[f]! : 0;
          g.bEnc[f]! += dGate;
          g.bMag[f]! += through;
          g.rMag[f]! += through * Math.exp(rMag[f]!) * product;
          dPre = dGate + through * Math.exp(rMag[f]!);
        } else {
          const gz = dz + slope * norm[f]!;
          dPre = pre[at]! > threshold[f]! ? gz : 0;
          const inBand = jump && Math.abs((pre[at]! - threshold[f]!) / bandwidth) < 0.5;
          if (inBand) {
            const estimate = (threshold[f]! * gz + (mode === "step" ? lambda : 0)) / bandwidth;
            g.threshold[f]! -= estimate;
            if (jumpreluSteToInput) dPre += estimate;
          }
          if (dead[f] === 1 && preActLossCoefficient > 0 && pre[at]! < threshold[f]!) {
            const weight = preActLossCoefficient / rows;
            auxLoss += weight * (threshold[f]! - pre[at]!) * norm[f]!;
            dPre -= weight * norm[f]!;
            g.threshold[f]! += weight * norm[f]!;
            normGradient[f]! += weight * (threshold[f]! - pre[at]!);
          }
          g.bEnc[f]! += dPre;
        }
        for (let i = 0; i < d; i++) {
          g.wDec[f * d + i]! += z[at]! * main[b * d + i]! + gate[at]! * ofGate[b * d + i]!;
          g.wEnc[f * d + i]! += dPre * centered[b * d + i]!;
          g.bDec[i]! -= dPre * wEnc[f * d + i]!;
        }
      }
    }
    for (let i = 0; i < rows * d; i++) g.bDec[i % d]! += main[i]! + ofGate[i]!;
    for (let f = 0; f < h; f++) for (let i = 0; i < d; i++) g.wDec[f * d + i]! += (normGradient[f]! * wDec[f * d + i]!) / norm[f]!;
    const gradNorm = Math.sqrt(names.reduce((sum, name) => sum + squares(g[name]), 0));
    this.#adam(g, gradClipNorm > 0 ? Math.min(1, gradClipNorm / (gradNorm + 1e-6)) : 1);
    threshold.forEach((value, f) => (threshold[f] = Math.max(0, value)));
    return { mseLoss, sparsityLoss, auxLoss, l0: fired / rows, numDead: dead.reduce((sum, value) => sum + value, 0), gradNorm };
  }

  #adam(gradient: PenalisedParameters, factor: number): void {
    const { adamBeta1: beta1, adamBeta2: beta2, adamEpsilon, weightDecay } = this.#config;
    const rate = learningRate(this.#step, this.#config);
    const t = ++this.#step;
    for (const name of names) {
      const [p, m, v] = [this.parameters[name], this.#m[name], this.#v[name]];
      gradient[name].forEach((raw, i) => {
        const g = raw * factor;
        m[i] = beta1 * m[i]! + (1 - beta1) * g;
        v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
        p[i] = p[i]! * (1 - rate * weightDecay) - ((rate / (1 - beta1 ** t)) * m[i]!) / (Math.sqrt(v[i]!) / Math.sqrt(1 - beta2 ** t) + adamEpsilon);
      });
    }
  }
}

function dot(a: Float64Array, aAt: number, b: Float64Array, bAt: number, n: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[aAt + i]! * b[bAt + i]!;
  return sum;
}

function squares(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0);
}
