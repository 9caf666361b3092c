import type { LoadedSae } from "../../src/sae/loaded-sae.ts";
import { uniform } from "../../src/sampling/philox.ts";

/** A random SAE over rows of width `dIn`. */
export function tinySae(options: Partial<LoadedSae> = {}): LoadedSae {
  const dIn = options.dIn ?? 32;
  const dSae = options.dSae ?? 40;
  let counter = 0;
  const random = (length: number, scale: number): Float32Array => Float32Array.from({ length }, () => scale * (uniform(99n, counter++) - 0.5));
  return {
    dIn,
    dSae,
    architecture: "topk",
    k: 5,
    wEnc: random(dSae * dIn, 1),
    bEnc: random(dSae, 0.5),
    wDec: random(dSae * dIn, 1),
    bDec: random(dIn, 1),
    normalizeActivations: "none",
    applyBDecToInput: true,
    rescaleActsByDecoderNorm: false,
    ...options,
  };
}

/** Encoding and decoding by the formulas of SAELens, in double precision, one row at a time. */
export class ReferenceSae {
  readonly sae: LoadedSae;

  constructor(sae: LoadedSae) {
    this.sae = sae;
  }

  row(matrix: Float32Array, feature: number): number[] {
    return [...matrix.subarray(feature * this.sae.dIn, (feature + 1) * this.sae.dIn)];
  }

  /** Shift and scale of a row under its normalisation, and what it is divided by. */
  statistics(x: readonly number[]): { mean: number; sd: number; divisor: number } {
    const d = x.length;
    if (this.sae.normalizeActivations === "layer_norm") {
      const mean = x.reduce((a, b) => a + b, 0) / d;
      const sd = Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (d - 1));
      return { mean, sd, divisor: sd + 1e-5 };
    }
    if (this.sae.normalizeActivations === "constant_norm_rescale") {
      const sd = Math.hypot(...x) / Math.sqrt(d);
      return { mean: 0, sd, divisor: sd };
    }
    return { mean: 0, sd: 1, divisor: 1 };
  }

  /** Pre-activations [dSae]. */
  preActivations(x: readonly number[]): number[] {
    const { sae } = this;
    const { mean, divisor } = this.statistics(x);
    const h = x.map((v, i) => (v - mean) / divisor - (sae.applyBDecToInput ? sae.bDec[i]! : 0));
    return Array.from({ length: sae.dSae }, (_, f) => this.row(sae.wEnc, f).reduce((sum, w, i) => sum + w * h[i]!, sae.bEnc[f]!) * (sae.rescaleActsByDecoderNorm ? this.norm(f) : 1));
  }

  /** Features that came closest to firing, closest first, with what each fell short of. */
  nearMisses(x: readonly number[], most: number): { readonly feature: number; readonly value: number; readonly threshold: number }[] {
    const { k, threshold } = this.sae;
    const pre = this.preActivations(x);
    const ranked = pre.map((value, feature) => ({ feature, value })).sort((a, b) => b.value - a.value);
    const kth = k === undefined ? Number.NaN : ranked[k - 1]!.value;
    const silent = k === undefined ? ranked.filter(({ feature, value }) => value <= threshold![feature]!) : ranked.slice(k);
    const missed = silent.filter(({ value }) => value > 0).map(({ feature, value }) => ({ feature, value, threshold: threshold?.[feature] ?? kth }));
    return missed.sort((a, b) => b.value / b.threshold - a.value / a.threshold).slice(0, most);
  }

  /** Activations [dSae], zeros included. */
  encode(x: readonly number[]): number[] {
    const { sae } = this;
    const pre = this.preActivations(x);
    if (sae.architecture === "standard") return pre.map((v) => Math.max(0, v));
    if (sae.architecture === "jumprelu") return pre.map((v, f) => (v > sae.threshold![f]! ? Math.max(0, v) : 0));
    const kept = new Set(pre.map((v, f) => [v, f] as const).sort((a, b) => b[0] - a[0]).slice(0, sae.k).map(([, f]) => f));
    return pre.map((v, f) => (kept.has(f) ? Math.max(0, v) : 0));
  }

  norm(feature: number): number {
    return Math.hypot(...this.row(this.sae.wDec, feature));
  }

  /** D_f as an edit adds it. */
  direction(feature: number): number[] {
    const scale = this.sae.rescaleActsByDecoderNorm ? 1 / this.norm(feature) : 1;
    return this.row(this.sae.wDec, feature).map((v) => v * scale);
  }

  /** sd (D a + b_dec) + mean, with the statistics of `x`. */
  reconstruct(x: readonly number[], a: readonly number[]): number[] {
    const { mean, sd } = this.statistics(x);
    const out = [...this.sae.bDec];
    for (const [f, activation] of a.entries()) if (activation !== 0) for (const [i, v] of this.direction(f).entries()) out[i] = out[i]! + activation * v;
    return out.map((v) => sd * v + mean);
  }
}
