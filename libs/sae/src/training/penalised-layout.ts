import type { TrainedArchitecture } from "./architecture.ts";
import type { ResolvedTrainerConfig } from "./config.ts";

/** Regions that only penalised architectures have. */
export type PenalisedRegion =
  /* Numbers of the step for the kernels. */
  | "penalty"
  /* [vectors, span]: parameters of one number a latent, with their moments and gradients */
  | "latent" | "mLatent" | "vLatent" | "gLatent"
  /* [h] */
  | "decoderNorms" | "gNorms" | "gGates"
  /* Dense codes of a tile of latents and the gradients at them, [tile, codeRow]; a tile's part of the reconstruction, as g */
  | "codes" | "slopes" | "partial"
  /* Listed entries by latent, 8 bytes each, and by row */
  | "list" | "rowVals" | "rowGates" | "rowIdx" | "rowStarts"
  /* [threads, batch] */
  | "rowCursors" | "rowPowers" | "scratch"
  /* [batch] */
  | "rowFactors"
  /* [stride] and [threads] */
  | "inputSum" | "deadLosses";

/** What the regions of a penalised architecture are sized by. */
export interface PenalisedShape {
  readonly gated: boolean;
  /** Names of the vectors in `latent`. */
  readonly vectors: readonly string[];
  /** Bytes from one vector to the next. */
  readonly span: number;
  /** Bytes of a latent's dense codes: values, then gates of a gated SAE. */
  readonly codeRow: number;
  /** Batches with more entries than this are computed densely. */
  readonly mostListed: number;
}

/** Parameters of one number a latent, besides the encoder's bias; a gated SAE keeps b_gate in the bias's place. */
export const latentVectors: Readonly<Partial<Record<TrainedArchitecture, readonly string[]>>> = {
  jumprelu: ["threshold"],
  gated: ["r_mag", "b_mag"],
};

/** Share of all pre-activations up to which lists of entries should be faster than dense products: an estimate from the speed of both, not swept. */
const listedShare = 1 / 16;

/** The shape of a penalised architecture. */
export function penalisedShape({ architecture, dSae: h, trainBatchSizeTokens: batch }: ResolvedTrainerConfig): PenalisedShape {
  const gated = architecture === "gated";
  const vectors = latentVectors[architecture] ?? [];
  const span = vectors.length > 0 ? Math.ceil(h / 4) * 16 : 0;
  return { gated, vectors, span, codeRow: batch * (gated ? 8 : 4), mostListed: Math.floor(batch * h * listedShare) };
}

/** Bytes of each region; all 0 without a shape. */
export function penalisedSizes(shape: PenalisedShape | undefined, sizes: { readonly h: number; readonly batch: number; readonly threads: number; readonly stride: number; readonly tile: number }): Record<PenalisedRegion, number> {
  const { h, batch, threads, stride, tile } = sizes;
  const once = shape === undefined ? 0 : 1;
  const { gated, span, vectors, codeRow, mostListed } = shape ?? { gated: false, span: 0, vectors: [], codeRow: 0, mostListed: 0 };
  const vector = vectors.length * span;
  const perLatent = once * h * 4;
  const perRow = once * batch * 4;
  return {
    penalty: once * 64,
    latent: vector, mLatent: vector, vLatent: vector, gLatent: vector,
    decoderNorms: perLatent, gNorms: perLatent, gGates: gated ? perLatent : 0,
    codes: tile * codeRow, slopes: tile * codeRow, partial: (codeRow / 4) * stride,
    list: mostListed * 8, rowVals: mostListed * 4, rowGates: gated ? mostListed * 4 : 0, rowIdx: mostListed * 4, rowStarts: perRow + once * 4,
    rowCursors: threads * perRow, rowPowers: threads * perRow * 2, scratch: threads * perRow * 4,
    rowFactors: perRow,
    inputSum: once * stride, deadLosses: once * threads * 8,
  };
}
