import { productRow, type SparseMatrix, strongestColumns } from "./subspace.ts";

/** Features whose decoder rows point the same way as one's, and the cosines. */
export interface Related {
  readonly features: readonly number[];
  readonly cosines: readonly number[];
}

/** A space that tokens and features share. */
export interface OwnSpace {
  readonly dimension: number;
  readonly singularValues: Float64Array;
  /** [columns of the matrix, dimension]. */
  readonly tokens: Float32Array;
  /** [features, dimension], each of length 1 or 0. */
  readonly features: Float32Array;
}

/** Names the formula below: vectors of another one are computed anew. */
export const OWN_METHOD = "own-1";

export const ownDimension = 128;
/** How much of its neighbours a feature takes on. */
const SMOOTHING = 0.5;

/**
 * Latent semantic analysis of the features' tokens: with M ≈ U S Vᵀ, a token is its row of V, and a feature the sum of its tokens,
 * M V, with half of what its neighbours by decoder row are, by cosine. Deerwester et al., Indexing by Latent Semantic Analysis (1990).
 */
export function ownSpace(matrix: SparseMatrix, related: (feature: number) => Related, width: number = ownDimension): OwnSpace {
  const { vectors: tokens, width: dimension, values } = strongestColumns(matrix, width);
  const plain = new Float32Array(matrix.rows * dimension);
  for (let f = 0; f < matrix.rows; f++) productRow(matrix, f, tokens, dimension, plain.subarray(f * dimension, (f + 1) * dimension));
  const features = plain.slice();
  for (let f = 0; f < matrix.rows; f++) {
    const row = features.subarray(f * dimension, (f + 1) * dimension);
    const { features: others, cosines } = related(f);
    for (const [i, other] of others.entries()) {
      const share = SMOOTHING * Math.max(0, cosines[i] as number);
      for (let j = 0; j < dimension; j++) row[j]! += share * (plain[other * dimension + j] ?? 0);
    }
    const norm = Math.hypot(...row);
    if (norm > 0) for (let j = 0; j < dimension; j++) row[j]! /= norm;
  }
  return { dimension, singularValues: values, tokens, features };
}
