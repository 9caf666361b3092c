import type { Fields } from "./fields.ts";
import { limits, requireHeadWidth } from "./limits.ts";
import type { ModelConfig } from "./model-config.ts";

/** Parts of a params.json that change the layers in ways not built here. */
const foreign = ["moe", "quantization", "qformat_weight", "yarn", "llama_4_scaling", "q_lora_rank", "kv_lora_rank"] as const;

/** Mistral's own programs set no bound; their models without one were trained for this many positions or more. */
const usualPositions = 32_768;

/**
 * The configuration of Mistral's own layout (`params.json` beside `consolidated.safetensors`). Throws InputError as for a config.json, and for a model that needs
 * the Hugging Face layout.
 */
export function consolidatedConfig(params: Fields): ModelConfig {
  for (const name of foreign) {
    if (params.has(name)) throw params.error(name, "not supported in Mistral's own layout", "set", "the folder in the Hugging Face layout, with config.json");
  }
  const dModel = params.integer("dim", 1, limits.width);
  const nHeads = params.integer("n_heads", 1, limits.heads);
  const nKeyValueHeads = params.integer("n_kv_heads", 1, limits.heads);
  if (nHeads % nKeyValueHeads !== 0) throw params.error("n_kv_heads", "query heads cannot be shared out evenly", nKeyValueHeads, `a divisor of ${nHeads}`);
  const dHead = params.integer("head_dim", 2, limits.width);
  requireHeadWidth(params, "head_dim", dHead);
  const nLayers = params.integer("n_layers", 1, limits.layers);
  const maxPositions = params.optionalInteger("max_position_embeddings", 1, limits.positions) ?? params.optionalInteger("max_seq_len", 1, limits.positions) ?? usualPositions;
  if (params.has("sliding_window") && params.integers("sliding_window")?.length !== 1) throw params.error("sliding_window", "windows that differ between layers are not supported in this layout", "a list", "the folder in the Hugging Face layout, with config.json");
  const window = params.optionalInteger("sliding_window", 1, limits.positions);
  return {
    architecture: "MistralForCausalLM",
    layout: "consolidated",
    hasVision: params.has("vision_encoder") || params.has("multimodal"),
    nLayers,
    dModel,
    nHeads,
    nKeyValueHeads,
    dHead,
    dMlp: params.integer("hidden_dim", 1, limits.width),
    dVocab: params.integer("vocab_size", 1, limits.vocab),
    normEpsilon: params.number("norm_eps", 0, 1),
    rope: { theta: params.number("rope_theta", 1, 1e12), scaling: { kind: "default" }, maxPositions },
    maxPositions,
    slidingWindows: Array.from({ length: nLayers }, () => window),
    tiedEmbeddings: params.optionalBoolean("tied_embeddings") ?? false,
    // All of Mistral's tokenizers have <s> and </s> at these places; the file does not say so.
    bosTokenId: 1,
    eosTokenIds: [2],
  };
}
