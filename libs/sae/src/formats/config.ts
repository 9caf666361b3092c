/** Kinds of sparse autoencoder, under SAELens' names; `groupmax` is sparsify's own. */
export const ARCHITECTURES = ["standard", "topk", "abstopk", "jumprelu", "gated", "groupmax"] as const;
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

/** How an SAE computes. Keys are those of SAELens' cfg.json in camel case. */
export interface SaeConfig {
  readonly architecture: Architecture;
  /** Width of the rows it reads and writes. */
  readonly dIn: number;
  /** Features. */
  readonly dSae: number;
  /** Features a row for topk and abstopk, groups for groupmax; absent otherwise. */
  readonly k?: number | undefined;
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

/** Whether `k` selects the features of a row. */
export function selectsByK(architecture: Architecture): boolean {
  return architecture === "topk" || architecture === "abstopk" || architecture === "groupmax";
}
