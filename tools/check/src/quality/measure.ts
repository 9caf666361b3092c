import { SaeCodec, type SaeWeights } from "@mistral-sae/sae";

/** How well an SAE does on rows it has not seen. */
export interface Quality {
  /** Σ‖x - x̂‖² / Σ‖x - x̄‖², f64. */
  readonly fvu: number;
  /** Mean non-zeros a row. */
  readonly l0: number;
  /** Share of latents that never fire. */
  readonly dead: number;
}

const chunkRows = 2000;

/** Measures raw rows [n, d_in]. */
export function measure(sae: SaeWeights, rows: Float32Array): Quality {
  const { dIn: d, dSae } = sae.config;
  const n = rows.length / d;
  const mean = new Float64Array(d);
  for (let at = 0; at < rows.length; at++) mean[at % d]! += rows[at]! / n;
  const codec = new SaeCodec(sae);
  const fired = new Uint8Array(dSae);
  let [error, spread, entries] = [0, 0, 0];
  for (let from = 0; from < rows.length; from += chunkRows * d) {
    const x = rows.subarray(from, from + chunkRows * d);
    const codes = codec.encodeRows(x);
    const y = codec.decodeRows(codes, codes.stats);
    for (const [at, feature] of codes.indices.entries()) {
      if (codes.values[at] === 0) continue;
      fired[feature] = 1;
      entries += 1;
    }
    for (let i = 0; i < x.length; i++) {
      error += (x[i]! - y[i]!) ** 2;
      spread += (x[i]! - mean[i % d]!) ** 2;
    }
  }
  return { fvu: error / spread, l0: entries / n, dead: fired.reduce((sum, one) => sum - one, dSae) / dSae };
}

/** FVU where L0 is `l0`, between measured points (linear in the logarithm of L0); undefined outside of them. */
export function fvuAt(points: readonly Quality[], l0: number): number | undefined {
  const sorted = points.toSorted((one, other) => one.l0 - other.l0);
  for (let i = 1; i < sorted.length; i++) {
    const [low, high] = [sorted[i - 1]!, sorted[i]!];
    if (l0 < low.l0 || l0 > high.l0) continue;
    const share = high.l0 === low.l0 ? 0 : Math.log(l0 / low.l0) / Math.log(high.l0 / low.l0);
    return low.fvu + share * (high.fvu - low.fvu);
  }
  return undefined;
}

/** Mean and standard deviation (of a sample). */
export function spreadOf(values: readonly number[]): { readonly mean: number; readonly sd: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { mean, sd: values.length < 2 ? 0 : Math.sqrt(squares / (values.length - 1)) };
}
