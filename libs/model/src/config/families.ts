import type { Fields } from "./fields.ts";

/** Models whose layers are those of Mistral, by `model_type`. */
export type Family = "mistral" | "ministral" | "ministral3" | "llama";

/** How an architecture is laid out in config.json. */
export interface Architecture {
  /** Undefined where `text_config.model_type` says it: the language part of a model that also takes images. */
  readonly family: Family | undefined;
  /** What `tie_word_embeddings` is when it is absent. */
  readonly tiedEmbeddings: boolean;
}

const mistral = {
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 14_336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  hidden_act: "silu",
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-6,
  sliding_window: 4096,
  bos_token_id: 1,
  eos_token_id: 2,
} as const;

/** What transformers takes for a field that is absent; `null` is a value of its own. */
const defaults: Readonly<Record<Family, Readonly<Record<string, unknown>>>> = {
  mistral,
  ministral: mistral,
  ministral3: { ...mistral, vocab_size: 131_072, num_hidden_layers: 34, head_dim: 128, max_position_embeddings: 262_144, rms_norm_eps: 1e-5, sliding_window: null },
  llama: { ...mistral, intermediate_size: 11_008, num_key_value_heads: null, max_position_embeddings: 2048, sliding_window: null },
};

export const architectures: ReadonlyMap<string, Architecture> = new Map<string, Architecture>([
  ["MistralForCausalLM", { family: "mistral", tiedEmbeddings: false }],
  ["MinistralForCausalLM", { family: "ministral", tiedEmbeddings: false }],
  ["Ministral3ForCausalLM", { family: "ministral3", tiedEmbeddings: false }],
  ["LlamaForCausalLM", { family: "llama", tiedEmbeddings: false }],
  ["Mistral3ForConditionalGeneration", { family: undefined, tiedEmbeddings: true }],
  ["LlavaForConditionalGeneration", { family: undefined, tiedEmbeddings: false }],
  ["PixtralForConditionalGeneration", { family: undefined, tiedEmbeddings: false }],
]);

function isFamily(name: string): name is Family {
  return Object.hasOwn(defaults, name);
}

/** The configuration of the language model, and its family. */
export interface LanguageConfig {
  readonly family: Family;
  readonly fields: Fields;
}

/**
 * Finds the language model's own fields. transformers writes a nested `text_config` without the fields that have its
 * defaults, so they are filled in; at the top level only `sliding_window` has a default, the other fields are required.
 */
export function languageConfig(config: Fields, { family }: Architecture): LanguageConfig {
  if (family !== undefined) return { family, fields: config.withDefaults({ sliding_window: defaults[family]["sliding_window"] }) };
  const text = config.object("text_config");
  if (text === undefined) throw config.error("text_config", "the field is missing", "nothing", "the language model's configuration");
  const type = text.optionalString("model_type");
  if (type === undefined || !isFamily(type)) throw text.error("model_type", "unknown language model", type ?? "none", Object.keys(defaults).join(", "));
  return { family: type, fields: text.withDefaults(defaults[type]) };
}
