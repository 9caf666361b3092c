import { rowBounds, unpackSparse, type WireSparseCodeInput } from "@mistral-sae/tensor";

/** A firing feature. */
export interface FeatureValue {
  readonly feature: number;
  readonly value: number;
}

/** The (feature, activation) pairs of each token of a code, strongest first. */
export function sparseRows(code: WireSparseCodeInput): readonly (readonly FeatureValue[])[] {
  const rows = unpackSparse(code);
  return Array.from({ length: rows.nTokens }, (_, row) => {
    const [start, end] = rowBounds(rows, row);
    return Array.from(rows.indices.subarray(start, end), (feature, at) => ({ feature, value: rows.values[start + at] ?? 0 }));
  });
}
