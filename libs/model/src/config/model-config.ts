import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { Fields } from "./fields.ts";

/** What config.json says of a model, checked; names as in the TransformerLens configuration. */
export interface ModelConfig {
  readonly architecture: string;
  readonly nLayers: number;
  readonly dModel: number;
  readonly nHeads: number;
  readonly nKeyValueHeads: number;
  readonly dHead: number;
  readonly dMlp: number;
  readonly dVocab: number;
  readonly normEpsilon: number;
  readonly ropeTheta: number;
  readonly maxPositions: number;
  /** Tokens that attention looks back, itself included; undefined looks at all. */
  readonly slidingWindow: number | undefined;
  /** The head is the embedding table. */
  readonly tiedEmbeddings: boolean;
  readonly bosTokenId: number | undefined;
  readonly eosTokenIds: readonly number[];
}

/** Architectures whose layers are those of Mistral. */
const architectures: ReadonlySet<string> = new Set(["MistralForCausalLM"]);

// Far above any published model; keeps a lying file from asking for absurd tables.
const limits = { layers: 1024, width: 1 << 20, heads: 4096, vocab: 1 << 24, positions: 1 << 24 } as const;

/**
 * Reads `config.json` (and `generation_config.json` for the end-of-sequence ids) of a model folder.
 * Throws InputError naming file, field, the value got and the value wanted.
 */
export async function readModelConfig(modelDir: string): Promise<ModelConfig> {
  const config = await readJson(join(modelDir, "config.json"), true);
  const generation = await readJson(join(modelDir, "generation_config.json"), false);
  return parseModelConfig(config, generation);
}

async function readJson(file: string, required: boolean): Promise<Fields | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (!required && code === "ENOENT") return undefined;
    throw new InputError(`the file cannot be read: ${code}`, { file, wanted: "a model folder with config.json and *.safetensors" }, { cause: error });
  }
  try {
    return Fields.of(file, JSON.parse(text));
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`the file is not JSON: ${error instanceof Error ? error.message : String(error)}`, { file }, { cause: error });
  }
}

function parseModelConfig(config: Fields | undefined, generation: Fields | undefined): ModelConfig {
  if (config === undefined) throw new InputError("there is no config.json");
  const architecture = config.strings("architectures")?.[0];
  if (architecture === undefined || !architectures.has(architecture)) {
    throw config.error("architectures", "unknown architecture", architecture ?? "none", [...architectures].join(" or "));
  }
  const dModel = config.integer("hidden_size", 1, limits.width);
  const nHeads = config.integer("num_attention_heads", 1, limits.heads);
  const dHead = config.optionalInteger("head_dim", 2, limits.width) ?? evenShare(config, dModel, nHeads);
  if (dHead % 8 !== 0) throw config.error("head_dim", "the attention operator of onnxruntime cannot take this width of a head", dHead, "a multiple of 8");
  const nKeyValueHeads = config.optionalInteger("num_key_value_heads", 1, limits.heads) ?? nHeads;
  if (nHeads % nKeyValueHeads !== 0) throw config.error("num_key_value_heads", "query heads cannot be shared out evenly", nKeyValueHeads, `a divisor of ${nHeads}`);
  const activation = config.optionalString("hidden_act") ?? "silu";
  if (activation !== "silu") throw config.error("hidden_act", "unknown activation", activation, "silu");
  for (const bias of ["attention_bias", "mlp_bias"]) {
    if (config.optionalBoolean(bias) === true) throw config.error(bias, "layers with biases are not supported", true, false);
  }
  const dVocab = config.integer("vocab_size", 1, limits.vocab);
  const tokenId = (id: number | undefined): number | undefined => (id !== undefined && id < dVocab ? id : undefined);
  const eos = generation?.integers("eos_token_id") ?? config.integers("eos_token_id") ?? [];
  return {
    architecture,
    nLayers: config.integer("num_hidden_layers", 1, limits.layers),
    dModel,
    nHeads,
    nKeyValueHeads,
    dHead,
    dMlp: config.integer("intermediate_size", 1, limits.width),
    dVocab,
    normEpsilon: config.number("rms_norm_eps", 0, 1),
    ropeTheta: ropeTheta(config),
    maxPositions: config.integer("max_position_embeddings", 1, limits.positions),
    slidingWindow: config.optionalInteger("sliding_window", 1, limits.positions),
    tiedEmbeddings: config.optionalBoolean("tie_word_embeddings") ?? false,
    bosTokenId: tokenId(config.optionalInteger("bos_token_id", 0, limits.vocab)),
    eosTokenIds: eos.filter((id) => tokenId(id) !== undefined),
  };
}

function evenShare(config: Fields, dModel: number, nHeads: number): number {
  if (dModel % nHeads !== 0) throw config.error("num_attention_heads", "hidden_size cannot be shared out evenly, and there is no head_dim", nHeads, `a divisor of ${dModel}`);
  return dModel / nHeads;
}

/** transformers 5 writes `rope_parameters.rope_theta`, version 4 `rope_theta`. */
function ropeTheta(config: Fields): number {
  for (const name of ["rope_parameters", "rope_scaling"]) {
    const rope = config.object(name);
    const kind = rope?.optionalString("rope_type") ?? rope?.optionalString("type") ?? "default";
    if (rope !== undefined && kind !== "default") throw rope.error("rope_type", "this way of scaling rotary embeddings is not supported", kind, "default");
  }
  const inner = config.object("rope_parameters");
  return config.optionalNumber("rope_theta", 1, 1e12) ?? inner?.optionalNumber("rope_theta", 1, 1e12) ?? 10_000;
}
