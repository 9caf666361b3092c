import { join } from "node:path";
import { consolidatedConfig } from "./consolidated.ts";
import type { Fields } from "./fields.ts";
import { architectures, languageConfig, type LanguageConfig } from "./families.ts";
import { limits, requireHeadWidth } from "./limits.ts";
import { readFields, requireFields } from "./read-fields.ts";
import { readRope, type Rope } from "./rope-scaling.ts";
import { slidingWindows } from "./sliding-windows.ts";

/** What a model folder's configuration says, checked; names as in the TransformerLens configuration. */
export interface ModelConfig {
  readonly architecture: string;
  /**
   * Names and order of the weights: "transformers" (config.json), where a head's rotary pairs lie half a head apart, or
   * "consolidated" (Mistral's own params.json), where they are neighbours.
   */
  readonly layout: "transformers" | "consolidated";
  /** The checkpoint also takes images; only its language model is read. */
  readonly hasVision: boolean;
  readonly nLayers: number;
  readonly dModel: number;
  readonly nHeads: number;
  readonly nKeyValueHeads: number;
  readonly dHead: number;
  readonly dMlp: number;
  readonly dVocab: number;
  readonly normEpsilon: number;
  readonly rope: Rope;
  /** Longest sequence that the model's positions hold for. */
  readonly maxPositions: number;
  /** [nLayers] Tokens that a layer's attention looks back, itself included; undefined looks at all. */
  readonly slidingWindows: readonly (number | undefined)[];
  /** The head is the embedding table. */
  readonly tiedEmbeddings: boolean;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
}

/**
 * Reads `config.json` of a model folder, or Mistral's `params.json` where there is none, and `generation_config.json`
 * for the end-of-sequence ids. Throws InputError naming file, field, the value got and the value wanted.
 */
export async function readModelConfig(modelDir: string): Promise<ModelConfig> {
  const config = await readFields(join(modelDir, "config.json"));
  const params = config === undefined ? await readFields(join(modelDir, "params.json")) : undefined;
  if (params !== undefined) return consolidatedConfig(params);
  const generation = await readFields(join(modelDir, "generation_config.json"));
  return parseModelConfig(config ?? (await requireFields(join(modelDir, "config.json"))), generation);
}

function parseModelConfig(config: Fields, generation: Fields | undefined): ModelConfig {
  const name = config.strings("architectures")?.[0];
  const architecture = architectures.get(name ?? "");
  if (name === undefined || architecture === undefined) throw config.error("architectures", "unknown architecture", name ?? "none", [...architectures.keys()].join(" or "));
  const language = languageConfig(config, architecture);
  const { fields } = language;
  const activation = fields.optionalString("hidden_act") ?? "silu";
  if (activation !== "silu") throw fields.error("hidden_act", "unknown activation", activation, "silu");
  for (const bias of ["attention_bias", "mlp_bias"]) {
    if (fields.optionalBoolean(bias) === true) throw fields.error(bias, "layers with biases are not supported", true, false);
  }
  const dVocab = fields.integer("vocab_size", 1, limits.vocab);
  const nLayers = fields.integer("num_hidden_layers", 1, limits.layers);
  const rope = readRope(fields, fields.integer("max_position_embeddings", 1, limits.positions));
  const valid = (id: number): boolean => id < dVocab;
  const eos = generation?.integers("eos_token_id") ?? fields.integers("eos_token_id") ?? [];
  const bos = fields.optionalInteger("bos_token_id", 0, limits.vocab);
  return {
    architecture: name,
    layout: "transformers",
    hasVision: architecture.family === undefined,
    nLayers,
    ...widths(fields),
    dVocab,
    normEpsilon: fields.number("rms_norm_eps", 0, 1),
    rope,
    maxPositions: rope.maxPositions,
    slidingWindows: slidingWindows(language, nLayers),
    tiedEmbeddings: tied(config, language, architecture.tiedEmbeddings),
    bosTokenId: bos !== undefined && valid(bos) ? bos : undefined,
    eosTokenIds: eos.filter(valid),
  };
}

function widths(fields: Fields): Pick<ModelConfig, "dModel" | "nHeads" | "nKeyValueHeads" | "dHead" | "dMlp"> {
  const dModel = fields.integer("hidden_size", 1, limits.width);
  const nHeads = fields.integer("num_attention_heads", 1, limits.heads);
  const nKeyValueHeads = fields.optionalInteger("num_key_value_heads", 1, limits.heads) ?? nHeads;
  if (nHeads % nKeyValueHeads !== 0) throw fields.error("num_key_value_heads", "query heads cannot be shared out evenly", nKeyValueHeads, `a divisor of ${nHeads}`);
  const given = fields.optionalInteger("head_dim", 2, limits.width);
  if (given === undefined && dModel % nHeads !== 0) {
    throw fields.error("num_attention_heads", "hidden_size cannot be shared out evenly, and there is no head_dim", nHeads, `a divisor of ${dModel}`);
  }
  const dHead = given ?? dModel / nHeads;
  requireHeadWidth(fields, "head_dim", dHead);
  return { dModel, nHeads, nKeyValueHeads, dHead, dMlp: fields.integer("intermediate_size", 1, limits.width) };
}

/** Beside a nested `text_config` the outer field decides, and the inner one may add to it. */
function tied(config: Fields, { fields }: LanguageConfig, absent: boolean): boolean {
  const outer = config.optionalBoolean("tie_word_embeddings") ?? absent;
  return outer || (fields.optionalBoolean("tie_word_embeddings") ?? false);
}
