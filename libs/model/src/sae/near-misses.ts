import { InputError, type SparseRows, type WireSparseCode } from "@mistral-sae/tensor";
import type { CanonicalSae } from "./canonical.ts";
import { joinCodes } from "./sparse-builder.ts";

/**
 * Features of each row that came closest to firing, closest first. What that means depends on the architecture:
 * of a topk SAE the pre-activations ranked just below the k-th largest; of a jumprelu SAE (batchtopk and gated ones run as
 * such) those that come nearest their feature's threshold from below, as a share of it. A standard SAE has none: each
 * pre-activation above 0 fires.
 */
export interface NearMissRows {
  /** Pre-activations, all above 0; `rowOffsets` are set. */
  readonly code: SparseRows;
  /** One a pair: the row's k-th largest pre-activation, or the feature's threshold. */
  readonly thresholds: Float32Array;
}

/** The same with the pre-activations packed as F32. */
export interface NearMisses extends Pick<NearMissRows, "thresholds"> {
  readonly code: WireSparseCode;
}

/** @throws InputError naming the architecture that has no near-misses. */
export function requireNearMisses({ kind }: Pick<CanonicalSae, "kind">, most: number): void {
  if (kind === "relu") throw new InputError("a standard SAE has no near-misses: each of its pre-activations above 0 fires", { field: "near_misses", got: most, wanted: "0, or a topk or jumprelu SAE" });
}

/** Pairs row after row, at most `most` a row. */
class Misses {
  readonly #shape: { readonly nTokens: number; readonly k: number; readonly dSae: number };
  readonly #indices: Uint32Array;
  readonly #values: Float32Array;
  readonly #thresholds: Float32Array;
  readonly #rowOffsets: Uint32Array;
  #pairs = 0;

  constructor(nTokens: number, most: number, dSae: number) {
    this.#shape = { nTokens, k: most, dSae };
    this.#indices = new Uint32Array(nTokens * most);
    this.#values = new Float32Array(nTokens * most);
    this.#thresholds = new Float32Array(nTokens * most);
    this.#rowOffsets = new Uint32Array(nTokens + 1);
  }

  add(feature: number, value: number, threshold: number): void {
    this.#indices[this.#pairs] = feature;
    this.#values[this.#pairs] = value;
    this.#thresholds[this.#pairs++] = threshold;
  }

  endRow(row: number): void {
    this.#rowOffsets[row + 1] = this.#pairs;
  }

  finish(): NearMissRows {
    const code = { ...this.#shape, indices: this.#indices.slice(0, this.#pairs), values: this.#values.slice(0, this.#pairs), rowOffsets: this.#rowOffsets };
    return { code, thresholds: this.#thresholds.slice(0, this.#pairs) };
  }
}

/** Of rows that hold `width` pairs each, descending and rectified: those from rank k on. */
export function missesOfTopK(values: Float32Array, indices: Int32Array, nTokens: number, width: number, k: number, dSae: number): NearMissRows {
  const found = new Misses(nTokens, width - k, dSae);
  for (let row = 0; row < nTokens; row++) {
    const threshold = values[row * width + k - 1]!;
    for (let i = row * width + k; i < (row + 1) * width && values[i]! > 0; i++) found.add(indices[i]!, values[i]!, threshold);
    found.endRow(row);
  }
  return found.finish();
}

/** Of dense pre-activations [n, dSae]: above 0 and not above the feature's threshold, the largest shares of it first. */
export function missesOfDense(pre: Float32Array, nTokens: number, { dSae, threshold }: Pick<CanonicalSae, "dSae" | "threshold">, most: number): NearMissRows {
  const found = new Misses(nTokens, most, dSae);
  const features = new Uint32Array(most);
  const shares = new Float64Array(most);
  for (let row = 0; row < nTokens; row++) {
    let count = 0;
    for (let f = 0; f < dSae; f++) {
      const value = pre[row * dSae + f]!;
      if (!(value > 0 && value <= threshold![f]!)) continue;
      const share = value / threshold![f]!;
      if (count === most && share <= shares[most - 1]!) continue;
      let at = count < most ? count++ : most - 1;
      for (; at > 0 && shares[at - 1]! < share; at--) {
        shares[at] = shares[at - 1]!;
        features[at] = features[at - 1]!;
      }
      shares[at] = share;
      features[at] = f;
    }
    for (let i = 0; i < count; i++) found.add(features[i]!, pre[row * dSae + features[i]!]!, threshold![features[i]!]!);
    found.endRow(row);
  }
  return found.finish();
}

/** Those of several runs of rows as one. */
export function joinMisses(parts: readonly NearMissRows[], most: number, dSae: number): NearMissRows {
  const [first] = parts;
  if (first === undefined) return new Misses(0, most, dSae).finish();
  if (parts.length === 1) return first;
  const code = joinCodes(parts.map((part) => part.code));
  const thresholds = new Float32Array(code.values.length);
  let at = 0;
  for (const part of parts) {
    thresholds.set(part.thresholds, at);
    at += part.thresholds.length;
  }
  return { code, thresholds };
}

/** The first `kept` of each row's `width` columns; the array itself where those are all. */
export function firstColumns<A extends Float32Array | Int32Array>(values: A, width: number, kept: number): A {
  if (kept === width) return values;
  const rows = values.length / width;
  const out = values.slice(0, rows * kept) as A;
  for (let row = 0; row < rows; row++) out.set(values.subarray(row * width, row * width + kept), row * kept);
  return out;
}
