import type { Engine } from "@mistral-sae/model";
import { type EncodedRows, SaeCodec, type SaeWeights } from "@mistral-sae/sae";
import { rowBounds } from "@mistral-sae/tensor";
import { FitMeter } from "../sae/fit-meter.ts";

/** How an SAE sees a model, beside how it sees the first model measured. */
export interface SaeAgreement {
  readonly rows: number;
  /** Σ‖x - x̂‖² / Σ‖x - x̄‖² on this model's own rows. */
  readonly fvu: number;
  readonly l0: number;
  /** Mean over rows of shared features / all features of the two. */
  readonly featureOverlap: number;
  /** Σ‖x - x₁‖² / Σ‖x₁ - x̄₁‖², x₁ the first model's rows. */
  readonly residualError: number;
}

/** Compares codes and rows of models with those of the first one given. */
export class SaeComparison {
  readonly #codec: SaeCodec;
  readonly #hook: string;
  readonly #sequences: readonly Uint32Array[];
  #first: { readonly codes: readonly EncodedRows[]; readonly rows: readonly Float32Array[] } | undefined;

  /** Holds all rows of the first model: tokens × d_in floats. */
  constructor(sae: SaeWeights, hook: string, sequences: readonly Uint32Array[]) {
    this.#codec = new SaeCodec(sae);
    this.#hook = hook;
    this.#sequences = sequences;
  }

  async measure(engine: Engine, signal: AbortSignal): Promise<SaeAgreement> {
    const { dIn, dSae } = this.#codec.sae.config;
    const meter = new FitMeter(dIn, dSae);
    const codes: EncodedRows[] = [];
    const rows: Float32Array[] = [];
    // Batches come in an order that lengths alone decide, so those of two models are the same.
    for await (const { residuals } of engine.forward(this.#sequences.map((tokens) => ({ tokens })), { taps: [{ hook: this.#hook }], signal })) {
      const x = residuals[0] ?? new Float32Array();
      const code = this.#codec.encodeRows(x);
      meter.add(x, this.#codec.decodeRows(code, code.stats), code);
      codes.push(code);
      rows.push(x);
    }
    const first = (this.#first ??= { codes, rows });
    const fit = meter.result();
    return { rows: fit.rows, fvu: fit.fvu, l0: fit.l0, featureOverlap: overlap(codes, first.codes), residualError: errorShare(rows, first.rows, dIn) };
  }
}

function overlap(codes: readonly EncodedRows[], first: readonly EncodedRows[]): number {
  let sum = 0;
  let rows = 0;
  for (const [i, code] of codes.entries()) {
    const other = first[i]!;
    for (let row = 0; row < code.nTokens; row++) {
      const mine = new Set(code.indices.subarray(...rowBounds(code, row)));
      const theirs = other.indices.subarray(...rowBounds(other, row));
      let shared = 0;
      for (const feature of theirs) if (mine.has(feature)) shared++;
      const all = mine.size + theirs.length - shared;
      sum += all === 0 ? 1 : shared / all;
      rows++;
    }
  }
  return sum / rows;
}

function errorShare(rows: readonly Float32Array[], first: readonly Float32Array[], width: number): number {
  const sum = new Float64Array(width);
  let squares = 0;
  let error = 0;
  let count = 0;
  for (const [i, x] of first.entries()) {
    for (let at = 0; at < x.length; at++) {
      sum[at % width]! += x[at]!;
      squares += x[at]! ** 2;
      error += (rows[i]![at]! - x[at]!) ** 2;
    }
    count += x.length / width;
  }
  const ofMean = sum.reduce((total, value) => total + value * value, 0) / count;
  return error / (squares - ofMean);
}
