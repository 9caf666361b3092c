import type { Fields } from "./fields.ts";

/** How rotary frequencies differ from theta^(−2i/dHead); names as in transformers' `rope_parameters`. */
export type RopeScaling =
  | { readonly kind: "default" }
  | { readonly kind: "linear"; readonly factor: number }
  | { readonly kind: "llama3"; readonly factor: number; readonly lowFreqFactor: number; readonly highFreqFactor: number; readonly originalMaxPositions: number }
  | {
      readonly kind: "yarn";
      readonly factor: number;
      readonly originalMaxPositions: number;
      /** Cosines and sines are multiplied by it, queries and keys thus each once. */
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** Bounds of the ramp are rounded outwards to whole frequencies. */
      readonly truncate: boolean;
    };

/** The rotary embedding of a model. */
export interface Rope {
  readonly theta: number;
  readonly scaling: RopeScaling;
  /** Positions for which the embedding holds. */
  readonly maxPositions: number;
}

const kinds = "default, linear, dynamic, llama3 or yarn";
const largestFactor = 1e6;

/**
 * Reads `rope_parameters` (transformers 5) or `rope_scaling` and `rope_theta` (version 4), with transformers' defaults.
 * What is written inside the object comes before what stands beside it.
 *
 * "dynamic" (NTK) changes the frequencies past `max_position_embeddings` only, which is the longest context here, so it
 * reads as the default. The query scale of Ministral 3 (`llama_4_scaling_beta`) is 1 below `original_max_position_embeddings`,
 * which therefore bounds the positions of such a model.
 * Throws InputError for other kinds and for values that make no sense.
 */
export function readRope(config: Fields, maxPositions: number): Rope {
  const rope = config.object("rope_scaling") ?? config.object("rope_parameters");
  const theta = rope?.optionalNumber("rope_theta", 1, 1e12) ?? config.optionalNumber("rope_theta", 1, 1e12) ?? 10_000;
  for (const fields of [rope, config]) {
    const factor = fields?.optionalNumber("partial_rotary_factor", 0, 1);
    if (fields !== undefined && factor !== undefined && factor !== 1) throw fields.error("partial_rotary_factor", "rotating only a part of each head is not supported", factor, 1);
  }
  if (rope === undefined) return { theta, scaling: { kind: "default" }, maxPositions };
  for (const layers of ["full_attention", "sliding_attention"]) {
    if (rope.has(layers)) throw rope.error(layers, "rotary embeddings that differ between layers are not supported", layers, "one set of parameters for all layers");
  }
  const original = (): number => config.optionalInteger("original_max_position_embeddings", 1, 1 << 24) ?? rope.optionalInteger("original_max_position_embeddings", 1, 1 << 24) ?? maxPositions;
  const beta = rope.optionalNumber("llama_4_scaling_beta", 0, 1e3) ?? 0;
  return { theta, scaling: readScaling(rope, original), maxPositions: beta === 0 ? maxPositions : Math.min(maxPositions, original()) };
}

function readScaling(rope: Fields, original: () => number): RopeScaling {
  const field = rope.has("rope_type") ? "rope_type" : "type";
  const kind = rope.optionalString(field) ?? "default";
  const factor = (): number => rope.number("factor", 1, largestFactor);
  switch (kind) {
    case "default":
      return { kind };
    case "dynamic":
      factor();
      return { kind: "default" };
    case "linear":
      return { kind, factor: factor() };
    case "llama3": {
      const lowFreqFactor = rope.number("low_freq_factor", 1e-6, largestFactor);
      const highFreqFactor = rope.number("high_freq_factor", 1e-6, largestFactor);
      if (highFreqFactor <= lowFreqFactor) throw rope.error("high_freq_factor", "the bounds of the frequencies are in the wrong order", highFreqFactor, `more than low_freq_factor, ${lowFreqFactor}`);
      return { kind, factor: factor(), lowFreqFactor, highFreqFactor, originalMaxPositions: original() };
    }
    case "yarn":
      return {
        kind,
        factor: factor(),
        originalMaxPositions: original(),
        attentionFactor: attentionFactor(rope, factor()),
        betaFast: rope.optionalNumber("beta_fast", 1e-6, largestFactor) ?? 32,
        betaSlow: rope.optionalNumber("beta_slow", 1e-6, largestFactor) ?? 1,
        truncate: rope.optionalBoolean("truncate") ?? true,
      };
    default:
      throw rope.error(field, "this way of scaling rotary embeddings is not supported", kind, kinds);
  }
}

/** √(1/t) of YaRN (Peng et al. 2023, arXiv 2309.00071, section 3.4), with the weights that DeepSeek and Mistral added. */
function attentionFactor(rope: Fields, factor: number): number {
  const given = rope.optionalNumber("attention_factor", 0, largestFactor);
  if (given !== undefined) return given;
  const scale = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const weight = rope.optionalNumber("mscale", 0, 1e3) ?? 0;
  const allDim = rope.optionalNumber("mscale_all_dim", 0, 1e3) ?? 0;
  return weight > 0 && allDim > 0 ? scale(weight) / scale(allDim) : scale(1);
}
