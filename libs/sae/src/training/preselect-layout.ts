import type { ResolvedTrainerConfig } from "./config.ts";

/** Latents of a tile of scores; the kernels know it too. */
export const scoreTile = 256;

/** Regions of a {@link Preselection}. */
export type PreselectRegion =
  /* The encoder as bytes, in tiles [stride / 4, tile], and the batch, [batch, stride / 4] */
  | "latentBytes" | "inputBytes"
  /* Scales: [h], and the tiles' largest ‖w‖ and ‖δw‖, [tiles, 2]; bounds of the batch's rows, [batch, 4] */
  | "latentScales" | "tileBounds" | "inputBounds"
  /* A tile of scores of a thread's rows, and working space of a thread */
  | "scores" | "preselectScratch"
  /* Rows' candidates: [batch, candidates], what is known of them, [batch, 4], and of their scores, [batch, 256] u16; [batch] */
  | "candidates" | "candidateStates" | "scoreHistograms" | "failedRows"
  /* [tile] zeros */
  | "zeroPoints";

export interface PreselectShape {
  readonly tiles: number;
  /** Candidates that a row has room for. */
  readonly candidates: number;
  /** Bytes of a thread's working space. */
  readonly scratchBytes: number;
}

/** Below, a product in f32 is as fast. */
const fewestLatents = 4096;
const fewestColumns = 128;
/** The bounds grow with the length of a row, what they must tell apart does not: with 4096 columns hardly a row is proven. */
const mostColumns = 2304;
/** Latents of which one may be a candidate, and features of which one may be taken: with more, nothing is won. */
const latentsPerCandidate = 4;
const latentsPerFeature = 32;

/** Whether, and how, the largest pre-activations of a row are found by way of 8-bit scores. */
export function preselectShape({ architecture, dSae: h, k, kStart }: Pick<ResolvedTrainerConfig, "architecture" | "dSae" | "k" | "kStart">, stride: number): PreselectShape | undefined {
  const columns = stride / 4;
  const worthwhile = h >= fewestLatents && columns >= fewestColumns && columns <= mostColumns && Math.max(k, kStart) * latentsPerFeature <= h;
  if (architecture !== "topk" || !worthwhile || h % 16 !== 0) return undefined;
  const candidates = h / latentsPerCandidate;
  return { tiles: Math.ceil(h / scoreTile), candidates, scratchBytes: Math.max(16 * columns + 528, candidates * 8 + 8) };
}

export function preselectSizes(shape: PreselectShape | undefined, { h, batch, threads, stride }: { readonly h: number; readonly batch: number; readonly threads: number; readonly stride: number }): Record<PreselectRegion, number> {
  const one = shape === undefined ? 0 : 1;
  const columns = stride / 4;
  return {
    latentBytes: one * h * columns, inputBytes: one * batch * columns,
    latentScales: one * h * 4, tileBounds: (shape?.tiles ?? 0) * 8, inputBounds: one * batch * 16,
    scores: one * batch * scoreTile, preselectScratch: threads * (shape?.scratchBytes ?? 0),
    candidates: batch * (shape?.candidates ?? 0) * 4, candidateStates: one * batch * 16, scoreHistograms: one * batch * 512, failedRows: one * batch * 4,
    zeroPoints: one * scoreTile,
  };
}
