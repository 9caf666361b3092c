import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { tensorOf, writeSafetensors, type Tensor } from "@mistral-sae/tensor";

type Json = Readonly<Record<string, unknown>>;

/** A model folder that is read without complaint, for damaging. */
export interface GoodFolder {
  readonly name: string;
  /** Name of the configuration, and of all JSON files that say what the folder is. */
  readonly configs: readonly string[];
  readonly weights: readonly string[];
}

const small = { vocab_size: 24, hidden_size: 16, intermediate_size: 20, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 64, rms_norm_eps: 1e-5, hidden_act: "silu", bos_token_id: 1, eos_token_id: [2, 3], sliding_window: null, torch_dtype: "float32" };
const mistral = { ...small, architectures: ["MistralForCausalLM"], model_type: "mistral", rope_theta: 1e4, tie_word_embeddings: false };
const yarn = { rope_type: "yarn", rope_theta: 1e4, factor: 4, original_max_position_embeddings: 16, beta_fast: 32, beta_slow: 1, mscale: 1, mscale_all_dim: 1, attention_factor: 1.1, truncate: true, llama_4_scaling_beta: 0.1 };

const configs: Readonly<Record<string, Json>> = {
  mistral,
  window: { ...mistral, sliding_window: 8, head_dim: 8, attention_bias: false },
  yarn: { ...mistral, rope_parameters: yarn },
  llama: { ...mistral, architectures: ["LlamaForCausalLM"], rope_scaling: { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 16 } },
  ministral: { ...mistral, architectures: ["MinistralForCausalLM"], sliding_window: 8, layer_types: ["full_attention", "sliding_attention"] },
  mistral3: { architectures: ["Mistral3ForConditionalGeneration"], model_type: "mistral3", tie_word_embeddings: false, text_config: { ...mistral, model_type: "ministral3", head_dim: 8, rope_parameters: yarn } },
};
const params = { dim: 16, n_layers: 2, head_dim: 8, hidden_dim: 20, n_heads: 2, n_kv_heads: 1, norm_eps: 1e-5, vocab_size: 24, rope_theta: 1e6, sliding_window: 8, max_seq_len: 64 };

const text = ["model.embed_tokens", "model.norm", "lm_head", "model.layers", "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
const consolidated = ["tok_embeddings", "norm", "output", "layers", "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"];
const shapes = [[16], [16, 16], [8, 16], [8, 16], [16, 16], [16], [20, 16], [20, 16], [16, 20]];

function weightsOf([embedding = "", norm = "", head = "", layers = "", ...parts]: readonly string[]): Record<string, Tensor> {
  const zeros = (shape: readonly number[]): Tensor => tensorOf(new Float16Array(shape.reduce((a, b) => a * b, 1)), shape);
  const tensors: Record<string, Tensor> = { [`${embedding}.weight`]: zeros([24, 16]), [`${norm}.weight`]: zeros([16]), [`${head}.weight`]: zeros([24, 16]) };
  for (let layer = 0; layer < 2; layer++) for (const [i, part] of parts.entries()) tensors[`${layers}.${layer}.${part}.weight`] = zeros(shapes[i] ?? []);
  return tensors;
}

/** Writes one folder for each kind of model under `folder`, named as the kind. */
export async function writeGoodFolders(folder: string): Promise<readonly GoodFolder[]> {
  const written: GoodFolder[] = [];
  for (const [name, config] of Object.entries(configs)) {
    const target = join(folder, name);
    await mkdir(target);
    await writeFile(join(target, "config.json"), JSON.stringify(config));
    await writeFile(join(target, "generation_config.json"), JSON.stringify({ bos_token_id: 1, eos_token_id: [2] }));
    const tensors = Object.entries(weightsOf(text));
    if (name === "mistral3") {
      await writeSafetensors(join(target, "model.safetensors"), Object.fromEntries(tensors.map(([key, tensor]) => [`language_model.${key}`, tensor])));
      written.push({ name, configs: ["config.json"], weights: ["model.safetensors"] });
    } else if (name === "window") {
      const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
      for (const [i, file] of files.entries()) await writeSafetensors(join(target, file), Object.fromEntries(tensors.filter((_, at) => at % 2 === i)));
      await writeFile(join(target, "model.safetensors.index.json"), JSON.stringify({ metadata: { total_size: 1 }, weight_map: Object.fromEntries(tensors.map(([key], at) => [key, files[at % 2]])) }));
      written.push({ name, configs: ["config.json", "model.safetensors.index.json", "generation_config.json"], weights: files });
    } else {
      await writeSafetensors(join(target, "model.safetensors"), Object.fromEntries(tensors), { format: "pt" });
      written.push({ name, configs: ["config.json", "config.json", "generation_config.json"], weights: ["model.safetensors"] });
    }
  }
  const target = join(folder, "consolidated");
  await mkdir(target);
  await writeFile(join(target, "params.json"), JSON.stringify(params));
  await writeSafetensors(join(target, "consolidated.safetensors"), weightsOf(consolidated));
  return [...written, { name: "consolidated", configs: ["params.json"], weights: ["consolidated.safetensors"] }];
}
