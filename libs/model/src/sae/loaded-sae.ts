/**
 * An SAE as the engine takes it: canonical form, rows are features, all arrays float32 and row-major. Arrays that lie
 * in a SharedArrayBuffer are used where they are; others are copied.
 */
export interface LoadedSae {
  readonly dIn: number;
  readonly dSae: number;
  /** SAELens' name. `topk`, `standard` and `jumprelu` are understood, others are refused. */
  readonly architecture: string;
  /** Features kept a row; required by topk. */
  readonly k?: number | undefined;
  /** [dSae, dIn] */
  readonly wEnc: Float32Array;
  /** [dSae] */
  readonly bEnc: Float32Array;
  /** [dSae, dIn] */
  readonly wDec: Float32Array;
  /** [dIn] */
  readonly bDec: Float32Array;
  /** [dSae]; required by jumprelu. */
  readonly threshold?: Float32Array | undefined;
  /** SAELens' normalize_activations: `none`, `layer_norm` or `constant_norm_rescale`; others must have been folded. */
  readonly normalizeActivations: string;
  readonly applyBDecToInput: boolean;
  readonly rescaleActsByDecoderNorm: boolean;
}
