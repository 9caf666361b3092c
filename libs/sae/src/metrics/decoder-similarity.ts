import { rowNorms, type SaeWeights } from "../formats/weights.ts";
import { MatrixProduct } from "./matrix-product.ts";

/** How alike decoder rows are to their nearest other row. */
export interface DecoderSimilarity {
  readonly mean: number;
  readonly median: number;
  readonly p95: number;
  readonly max: number;
  /** Share of features above 0.9. */
  readonly above09Fraction: number;
  /** Features measured, evenly spread over all; each is compared with every other row. */
  readonly nFeatures: number;
}

export interface SimilarityOptions {
  /** Multiplications and additions at most. */
  readonly budget?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Multiplications and additions at most, about 5 s on two cores: all rows up to 16,384 × 768, 1,024 rows of 131,072 × 4,096. */
export const SIMILARITY_BUDGET = 2 ** 39;
/** Memory of one block of products, bytes. */
const BLOCK_BYTES = 64 << 20;
const ALIKE = 0.9;

/**
 * Largest cosine max_{g ≠ f} ⟨d_f, d_g⟩ / (‖d_f‖‖d_g‖) of decoder rows with any other row, as block products of the decoder with itself.
 * Above {@link SIMILARITY_BUDGET} evenly spread rows are measured and `nFeatures` says how many. A row of length 0 counts as 0.
 * @returns Undefined for an SAE of fewer than 2 features.
 */
export async function decoderSimilarity(sae: SaeWeights, threads: number, { budget = SIMILARITY_BUDGET, signal }: SimilarityOptions = {}): Promise<DecoderSimilarity | undefined> {
  const { wDec } = sae;
  const { dSae } = sae.config;
  if (dSae < 2) return undefined;
  const width = wDec.length / dSae;
  const count = Math.max(1, Math.min(dSae, Math.floor(budget / wDec.length)));
  const chosen = Uint32Array.from({ length: count }, (_, at) => Math.floor((at * dSae) / count));
  const norms = rowNorms(wDec, width);
  const largest = new Float64Array(count);
  const noBias = new Float32Array(dSae);
  const blockRows = Math.max(1, Math.floor(BLOCK_BYTES / (dSae * 4)));
  const block = new Float32Array(Math.min(blockRows, count) * width);
  const product = await MatrixProduct.open(threads);
  try {
    for (let start = 0; start < count; start += blockRows) {
      signal?.throwIfAborted();
      const rows = chosen.subarray(start, start + blockRows);
      for (const [at, feature] of rows.entries()) block.set(wDec.subarray(feature * width, (feature + 1) * width), at * width);
      const dots = await product.run(block.subarray(0, rows.length * width), wDec, noBias, width);
      for (const [at, feature] of rows.entries()) largest[start + at] = largestCosine(dots.subarray(at * dSae, (at + 1) * dSae), feature, norms);
    }
  } finally {
    await product.close();
  }
  largest.sort();
  const quantile = (share: number): number => largest[Math.min(count - 1, Math.floor(share * count))]!;
  return {
    mean: largest.reduce((sum, cosine) => sum + cosine, 0) / count,
    median: quantile(0.5),
    p95: quantile(0.95),
    max: largest[count - 1]!,
    above09Fraction: largest.reduce((above, cosine) => above + Number(cosine > ALIKE), 0) / count,
    nFeatures: count,
  };
}

function largestCosine(dots: Float32Array, feature: number, norms: Float32Array): number {
  if (norms[feature] === 0) return 0;
  let best = -Infinity;
  for (let other = 0; other < dots.length; other++) {
    if (other === feature) continue;
    const cosine = norms[other] === 0 ? 0 : dots[other]! / norms[other]!;
    if (cosine > best) best = cosine;
  }
  return best / norms[feature]!;
}
