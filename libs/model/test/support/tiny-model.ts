import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bf16FromF32, bf16Tensor, tensorOf, writeSafetensors, type Tensor } from "@mistral-sae/tensor";
import { uniform } from "../../src/sampling/philox.ts";

/** A model small enough to be checked by hand. */
export interface TinyOptions {
  readonly dtype?: "F32" | "F16" | "BF16";
  readonly shards?: 1 | 2;
  readonly config?: Readonly<Record<string, unknown>>;
  /** Changes the tensors before they are written. */
  readonly change?: (tensors: Record<string, Tensor>) => void;
  readonly seed?: bigint;
}

export const tinyConfig = {
  architectures: ["MistralForCausalLM"],
  vocab_size: 96,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  hidden_act: "silu",
  max_position_embeddings: 700,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  bos_token_id: 1,
  eos_token_id: 2,
  tie_word_embeddings: false,
} as const;

/** Writes a random model in the Hugging Face layout to a folder of its own. */
export async function writeTinyModel(options: TinyOptions = {}): Promise<{ modelDir: string; [Symbol.asyncDispose](): Promise<void> }> {
  const modelDir = await mkdtemp(join(tmpdir(), "tiny-mistral-"));
  const config: Record<string, unknown> = { ...tinyConfig, ...options.config };
  const size = (name: string): number => Number(config[name]);
  const dHead = Number(config["head_dim"] ?? size("hidden_size") / size("num_attention_heads"));
  const [d, mlp, q, kv] = [size("hidden_size"), size("intermediate_size"), size("num_attention_heads") * dHead, size("num_key_value_heads") * dHead];
  const tensors: Record<string, Tensor> = {};
  let counter = 0;
  const put = (name: string, shape: readonly number[], scale: number, offset = 0): void => {
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => offset + scale * (uniform(options.seed ?? 7n, counter++) - 0.5));
    if (options.dtype === "F16") tensors[name] = tensorOf(new Float16Array(values), shape);
    else if (options.dtype === "BF16") tensors[name] = bf16Tensor(bf16FromF32(values, new Uint16Array(values.length)), shape);
    else tensors[name] = tensorOf(values, shape);
  };
  put("model.embed_tokens.weight", [size("vocab_size"), d], 2);
  for (let layer = 0; layer < size("num_hidden_layers"); layer++) {
    const prefix = `model.layers.${layer}`;
    put(`${prefix}.input_layernorm.weight`, [d], 0.4, 1);
    put(`${prefix}.self_attn.q_proj.weight`, [q, d], 1.5);
    put(`${prefix}.self_attn.k_proj.weight`, [kv, d], 1.5);
    put(`${prefix}.self_attn.v_proj.weight`, [kv, d], 1);
    put(`${prefix}.self_attn.o_proj.weight`, [d, q], 1);
    put(`${prefix}.post_attention_layernorm.weight`, [d], 0.4, 1);
    put(`${prefix}.mlp.gate_proj.weight`, [mlp, d], 1);
    put(`${prefix}.mlp.up_proj.weight`, [mlp, d], 1);
    put(`${prefix}.mlp.down_proj.weight`, [d, mlp], 1);
  }
  put("model.norm.weight", [d], 0.4, 1);
  if (config["tie_word_embeddings"] !== true) put("lm_head.weight", [size("vocab_size"), d], 1);
  options.change?.(tensors);
  await writeFile(join(modelDir, "config.json"), JSON.stringify(config));
  if (options.shards === 2) {
    const names = Object.keys(tensors);
    const half = Math.ceil(names.length / 2);
    const weightMap: Record<string, string> = {};
    for (const [i, part] of [names.slice(0, half), names.slice(half)].entries()) {
      const file = `model-0000${i + 1}-of-00002.safetensors`;
      await writeSafetensors(join(modelDir, file), Object.fromEntries(part.map((name) => [name, tensors[name]!])));
      for (const name of part) weightMap[name] = file;
    }
    await writeFile(join(modelDir, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weightMap }));
  } else {
    await writeSafetensors(join(modelDir, "model.safetensors"), tensors);
  }
  return {
    modelDir,
    async [Symbol.asyncDispose]() {
      await rm(modelDir, { recursive: true, force: true });
    },
  };
}
