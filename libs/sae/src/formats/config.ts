/**
 * How codes come about, under SAELens' names; `groupmax` is sparsify's own. A transcoder has one of these too (SAELens' `transcoder`
 * is standard, its `jumprelu_transcoder` is jumprelu), and `dOut` says that it is one.
 */
export const ARCHITECTURES = ["standard", "topk", "abstopk", "jumprelu", "gated", "groupmax", "matching_pursuit"] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/**
 * What happens to a row before the encoder and, with the statistics of the same row, after the decoder.
 * SAELens' two further kinds (expected_average_only_in, covariance_whitening) are folded into the weights when read.
 */
export const NORMALIZATIONS = ["none", "layer_norm", "constant_norm_rescale"] as const;
export type Normalization = (typeof NORMALIZATIONS)[number];

/** Element types that a configuration may name for its weights. */
export const WEIGHT_DTYPES = ["float32", "float16", "bfloat16"] as const;
export type WeightDType = (typeof WEIGHT_DTYPES)[number];

/** When matching pursuit ends, under SAELens' names. */
export interface MatchingPursuit {
  /** ‖residual‖ below which a row is done; 0 for never. */
  readonly residualThreshold: number;
  /** Features taken from a row at most; a feature may be taken again. Default d_in. */
  readonly maxIterations?: number | undefined;
  /** Whether a row is done once a step adds no feature. */
  readonly stopOnDuplicateSupport: boolean;
}

/** How an SAE computes. Keys are those of SAELens' cfg.json in camel case. */
export interface SaeConfig {
  readonly architecture: Architecture;
  /** Width of the rows it reads. */
  readonly dIn: number;
  /**
   * Width of the rows it writes, for a transcoder: it reads rows at one hook and writes those of another (`metadata.hook_name_out`),
   * subtracts nothing from its input and does not undo its normalisation. Absent: an autoencoder, which writes what it reads.
   */
  readonly dOut?: number | undefined;
  /** Whether the raw row times W_skip is added to the output. */
  readonly skipConnection?: boolean | undefined;
  /** Features. */
  readonly dSae: number;
  /** Features a row for topk and abstopk, groups for groupmax; absent otherwise. */
  readonly k?: number | undefined;
  /** matching_pursuit only. */
  readonly matchingPursuit?: MatchingPursuit | undefined;
  /** Type in which the weights are stored; in memory they are f32. */
  readonly dtype: WeightDType;
  /** Whether `bDec` is subtracted from the normalised row before encoding. */
  readonly applyBDecToInput: boolean;
  readonly normalizeActivations: Normalization;
  /** `hook_z`: a row is the concatenation of the attention heads' outputs. */
  readonly reshapeActivations: "none" | "hook_z";
  /** topk, abstopk: pre-activations are scaled by ‖W_dec[f]‖ before selection and activations divided by it when decoding. */
  readonly rescaleActsByDecoderNorm: boolean;
  /** Everything else that the file says, under its own keys: hook_name, model_name, context_size, … */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** The hook that the SAE's own file names, if any. */
export function hookNameOf(config: SaeConfig): string | undefined {
  const name = config.metadata["hook_name"];
  return typeof name === "string" && name !== "" ? name : undefined;
}

/** The hook whose rows the SAE writes, as far as its file names one; an autoencoder's is the hook it reads. */
export function hookNameOutOf(config: SaeConfig): string | undefined {
  if (!isTranscoder(config)) return hookNameOf(config);
  const name = config.metadata["hook_name_out"];
  return typeof name === "string" && name !== "" ? name : undefined;
}

export function isTranscoder({ dOut }: Pick<SaeConfig, "dOut">): boolean {
  return dOut !== undefined;
}

/** Width of the rows it writes. */
export function outputWidth({ dIn, dOut }: Pick<SaeConfig, "dIn" | "dOut">): number {
  return dOut ?? dIn;
}

/** Whether `k` selects the features of a row. */
export function selectsByK(architecture: Architecture): boolean {
  return architecture === "topk" || architecture === "abstopk" || architecture === "groupmax";
}
