import type { ModelConfig } from "../config/model-config.ts";

/** Gives the name under which a checkpoint stores a weight, from the weight's name in a Hugging Face text model. */
export type StoredName = (name: string) => string;

/** What a text model's `model.` and `lm_head.` are called where it is part of a larger one, by version of transformers. */
const prefixes = [
  { model: "model.", head: "lm_head." },
  { model: "language_model.model.", head: "language_model.lm_head." },
  { model: "model.language_model.", head: "lm_head." },
] as const;

const consolidated: readonly (readonly [RegExp, string])[] = [
  [/^model\.embed_tokens\./, "tok_embeddings."],
  [/^model\.norm\./, "norm."],
  [/^lm_head\./, "output."],
  [/^model\.layers\./, "layers."],
  [/\.input_layernorm\./, ".attention_norm."],
  [/\.post_attention_layernorm\./, ".ffn_norm."],
  [/\.self_attn\.([qkvo])_proj\./, ".attention.w$1."],
  [/\.mlp\.gate_proj\./, ".feed_forward.w1."],
  [/\.mlp\.down_proj\./, ".feed_forward.w2."],
  [/\.mlp\.up_proj\./, ".feed_forward.w3."],
];

/** Finds out how a checkpoint names the weights of its language model, by the one called `embedding`. */
export function storedNames({ layout }: Pick<ModelConfig, "layout">, tensors: ReadonlyMap<string, unknown>, embedding: string): StoredName {
  if (layout === "consolidated") return (name) => consolidated.reduce((text, [pattern, replacement]) => text.replace(pattern, replacement), name);
  const names = prefixes.map(
    ({ model, head }): StoredName =>
      (name) =>
        name.replace(/^model\./, model).replace(/^lm_head\./, head),
  );
  const plain: StoredName = (name) => name;
  return names.find((stored) => tensors.has(stored(embedding))) ?? plain;
}
