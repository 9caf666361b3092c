/** Sizes of a generated model. */
export interface ModelShape {
  readonly nLayers: number;
  readonly dModel: number;
  readonly dMlp: number;
  readonly nHeads: number;
  readonly nKeyValueHeads: number;
  readonly dHead: number;
  readonly dVocab: number;
  readonly maxPositions: number;
}

/** Models that are generated: 61 M parameters, 340 M, and Mistral-7B v0.3's own sizes. */
export const modelShapes = {
  small: { nLayers: 8, dModel: 512, dMlp: 1792, nHeads: 8, nKeyValueHeads: 2, dHead: 64, dVocab: 32_768, maxPositions: 4096 },
  medium: { nLayers: 20, dModel: 1024, dMlp: 3584, nHeads: 16, nKeyValueHeads: 4, dHead: 64, dVocab: 32_768, maxPositions: 4096 },
  "mistral-7b": { nLayers: 32, dModel: 4096, dMlp: 14_336, nHeads: 32, nKeyValueHeads: 8, dHead: 128, dVocab: 32_768, maxPositions: 32_768 },
} as const satisfies Readonly<Record<string, ModelShape>>;

export type ShapeName = keyof typeof modelShapes;

/** config.json of a model of this shape. */
export function configJson(shape: ModelShape, dtype: "F32" | "BF16"): object {
  return {
    architectures: ["MistralForCausalLM"],
    model_type: "mistral",
    torch_dtype: dtype === "F32" ? "float32" : "bfloat16",
    vocab_size: shape.dVocab,
    hidden_size: shape.dModel,
    intermediate_size: shape.dMlp,
    num_hidden_layers: shape.nLayers,
    num_attention_heads: shape.nHeads,
    num_key_value_heads: shape.nKeyValueHeads,
    head_dim: shape.dHead,
    hidden_act: "silu",
    max_position_embeddings: shape.maxPositions,
    rms_norm_eps: 1e-5,
    rope_theta: 1e6,
    sliding_window: null,
    bos_token_id: 1,
    eos_token_id: 2,
    tie_word_embeddings: false,
    use_cache: true,
  };
}

/** Tensors of a checkpoint in the order of the layers. */
export function tensorShapes(shape: ModelShape): readonly (readonly [name: string, shape: readonly number[]])[] {
  const { nLayers, dModel, dMlp, nHeads, nKeyValueHeads, dHead, dVocab } = shape;
  const layer = (l: number): [string, number[]][] => [
    ["input_layernorm.weight", [dModel]],
    ["self_attn.q_proj.weight", [nHeads * dHead, dModel]],
    ["self_attn.k_proj.weight", [nKeyValueHeads * dHead, dModel]],
    ["self_attn.v_proj.weight", [nKeyValueHeads * dHead, dModel]],
    ["self_attn.o_proj.weight", [dModel, nHeads * dHead]],
    ["post_attention_layernorm.weight", [dModel]],
    ["mlp.gate_proj.weight", [dMlp, dModel]],
    ["mlp.up_proj.weight", [dMlp, dModel]],
    ["mlp.down_proj.weight", [dModel, dMlp]],
  ].map(([name, sizes]) => [`model.layers.${l}.${name as string}`, sizes as number[]]);
  return [["model.embed_tokens.weight", [dVocab, dModel]], ...Array.from({ length: nLayers }, (_, l) => layer(l)).flat(), ["model.norm.weight", [dModel]], ["lm_head.weight", [dVocab, dModel]]];
}
