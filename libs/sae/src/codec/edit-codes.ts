import { InputError, rowBounds, type SparseRows } from "@mistral-sae/tensor";

/** A feature and the activation it is given. */
export interface FeatureValue {
  readonly feature: number;
  readonly value: number;
}

/**
 * The codes with the given features set in every row, whether they fired there or not: the original's clamp.
 * A row may then hold more than k pairs; values may be negative; a value of 0 silences the feature.
 * Throws InputError for a feature that the SAE does not have.
 */
export function setFeatures(codes: SparseRows, settings: readonly FeatureValue[]): SparseRows {
  const chosen = new Map<number, number>();
  for (const { feature, value } of settings) {
    if (!Number.isInteger(feature) || feature < 0 || feature >= codes.dSae) throw new InputError("no such feature", { field: "feature_index", got: feature, wanted: `0 to ${codes.dSae - 1}` });
    chosen.set(feature, value);
  }
  const kept = [...chosen].filter(([, value]) => value !== 0);
  const most = codes.indices.length + codes.nTokens * kept.length;
  const indices = new Uint32Array(most);
  const values = new Float32Array(most);
  const rowOffsets = new Uint32Array(codes.nTokens + 1);
  let at = 0;
  for (let row = 0; row < codes.nTokens; row++) {
    const [start, end] = rowBounds(codes, row);
    const pairs: [number, number][] = [...kept];
    for (let pair = start; pair < end; pair++) if (!chosen.has(codes.indices[pair]!)) pairs.push([codes.indices[pair]!, codes.values[pair]!]);
    pairs.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    for (const [feature, value] of pairs) {
      indices[at] = feature;
      values[at++] = value;
    }
    rowOffsets[row + 1] = at;
  }
  return { nTokens: codes.nTokens, k: codes.k, dSae: codes.dSae, indices: indices.subarray(0, at), values: values.subarray(0, at), rowOffsets };
}
