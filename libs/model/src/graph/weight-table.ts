import { basename } from "node:path";
import { InputError, missingTensor, openWeights, type LocatedTensor } from "@mistral-sae/tensor";
import type { ModelConfig } from "../config/model-config.ts";
import type { OnnxDataType } from "../onnx/data-type.ts";
import type { ExternalLocation } from "../onnx/wire.ts";
import type { QuantisedPrecision } from "../quantisation/format.ts";
import type { QuantisedWeight } from "../quantisation/quantised-weights.ts";
import { weightFolder } from "./weight-folder.ts";
import { storedNames } from "./weight-layout.ts";

const storedTypes: Readonly<Record<string, OnnxDataType>> = { F32: "float32", F16: "float16", BF16: "bfloat16" };

/** A weight as a graph refers to it. */
export interface Weight {
  readonly name: string;
  readonly type: OnnxDataType;
  readonly shape: readonly number[];
  readonly at: ExternalLocation;
  /**
   * Heads of queries or keys whose rotary pairs lie side by side, as in Mistral's own layout: rows [heads, dHead / 2, 2].
   * Graphs use them as [heads, 2, dHead / 2], the order of all other models.
   */
  readonly interleavedHeads?: number;
}

/** Names of the weights of a text model in the Hugging Face layout, whatever the files call them. */
export const weightNames = {
  embedding: "model.embed_tokens.weight",
  finalNorm: "model.norm.weight",
  head: "lm_head.weight",
  layer(layer: number) {
    const prefix = `model.layers.${layer}`;
    return {
      attentionNorm: `${prefix}.input_layernorm.weight`,
      query: `${prefix}.self_attn.q_proj.weight`,
      key: `${prefix}.self_attn.k_proj.weight`,
      value: `${prefix}.self_attn.v_proj.weight`,
      output: `${prefix}.self_attn.o_proj.weight`,
      mlpNorm: `${prefix}.post_attention_layernorm.weight`,
      gate: `${prefix}.mlp.gate_proj.weight`,
      up: `${prefix}.mlp.up_proj.weight`,
      down: `${prefix}.mlp.down_proj.weight`,
    };
  },
} as const;

/** The weights of a model folder, where they lie and what they must look like; no values are read. */
export interface WeightTable {
  /** Folder of the weight files after symlinks, what sessions are told of. */
  readonly folder: string;
  /** Paths of the files, as found in the model folder. */
  readonly files: readonly string[];
  readonly storedDtypes: readonly string[];
  readonly parameters: number;
  /** The head is the embedding table: the configuration says so and the files hold no head. */
  readonly tiedEmbeddings: boolean;
  /** How the projections are quantised; undefined where all weights are floats. */
  readonly precision: QuantisedPrecision | undefined;
  /** SHA-256, hex, that files are known to have, by path; empty where nothing was said of them. */
  readonly digests: ReadonlyMap<string, string>;
  get(name: string): Weight;
  /** A module of a quantised model, e.g. `model.layers.0.self_attn.qkv_proj`; undefined in a table of floats. */
  quantised(module: string): QuantisedWeight | undefined;
}

/**
 * Finds every weight that the configuration calls for and checks its type and shape. Others are left alone, as
 * transformers does. Throws InputError for a missing tensor, a wrong shape, or a type that cannot be computed with.
 */
export async function readWeightTable(modelDir: string, config: ModelConfig): Promise<WeightTable> {
  await using weights = await openWeights(modelDir, config.layout === "consolidated" ? "consolidated" : "model");
  const found = new Map<string, Weight>();
  const types = new Set<string>();
  const resolved = await weightFolder(weights.files);
  const stored = storedNames(config, weights.tensors, weightNames.embedding);
  const tiedEmbeddings = config.tiedEmbeddings && !weights.tensors.has(stored(weightNames.head));
  let parameters = 0;
  for (const [name, shape] of wantedShapes({ ...config, tiedEmbeddings })) {
    const tensor = weights.tensors.get(stored(name));
    if (tensor === undefined) throw missingTensor(stored(name), modelDir, weights.tensors);
    const heads = config.layout === "consolidated" ? rotatedHeads(name, config) : undefined;
    found.set(name, { ...checked(tensor, shape, resolved.names), ...(heads === undefined ? {} : { interleavedHeads: heads }) });
    types.add(tensor.dtype);
    parameters += shape.reduce((product, size) => product * size, 1);
  }
  return {
    folder: resolved.folder,
    files: weights.files,
    storedDtypes: [...types].sort(),
    parameters,
    tiedEmbeddings,
    precision: undefined,
    digests: new Map(),
    get(name) {
      const weight = found.get(name);
      if (weight === undefined) throw new Error(`weight ${name} is not in the table`);
      return weight;
    },
    quantised: () => undefined,
  };
}

function checked(tensor: LocatedTensor, shape: readonly number[], names: ReadonlyMap<string, string>): Weight {
  const type = storedTypes[tensor.dtype];
  if (type === undefined) throw new InputError("the weight's type cannot be computed with", { file: tensor.file, field: `${tensor.name}.dtype`, got: tensor.dtype, wanted: Object.keys(storedTypes).join(", ") });
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
    throw new InputError(`tensor "${tensor.name}" has the wrong shape for config.json`, { file: tensor.file, field: tensor.name, got: `[${tensor.shape.join(", ")}]`, wanted: `[${shape.join(", ")}]` });
  }
  return { name: tensor.name, type, shape, at: { file: names.get(tensor.file) ?? basename(tensor.file), offset: tensor.offset, length: tensor.length } };
}

/** Heads of a weight whose output is rotated. */
function rotatedHeads(name: string, config: ModelConfig): number | undefined {
  if (name.endsWith(".q_proj.weight")) return config.nHeads;
  return name.endsWith(".k_proj.weight") ? config.nKeyValueHeads : undefined;
}

function* wantedShapes(config: ModelConfig): Generator<readonly [string, readonly number[]]> {
  const { dModel, dMlp, dVocab } = config;
  const dQuery = config.nHeads * config.dHead;
  const dKeyValue = config.nKeyValueHeads * config.dHead;
  yield [weightNames.embedding, [dVocab, dModel]];
  for (let layer = 0; layer < config.nLayers; layer++) {
    const names = weightNames.layer(layer);
    yield [names.attentionNorm, [dModel]];
    yield [names.query, [dQuery, dModel]];
    yield [names.key, [dKeyValue, dModel]];
    yield [names.value, [dKeyValue, dModel]];
    yield [names.output, [dModel, dQuery]];
    yield [names.mlpNorm, [dModel]];
    yield [names.gate, [dMlp, dModel]];
    yield [names.up, [dMlp, dModel]];
    yield [names.down, [dModel, dMlp]];
  }
  yield [weightNames.finalNorm, [dModel]];
  if (!config.tiedEmbeddings) yield [weightNames.head, [dVocab, dModel]];
}
