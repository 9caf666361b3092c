import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tensorOf, writeSafetensors, type Tensor } from "@mistral-sae/tensor";
import { readModelConfig } from "../../src/config/model-config.ts";

/** FNV-1a of the name, then the finalizer of MurmurHash3 over index · golden ratio: uniform in [−0.5, 0.5). */
function values(name: string, count: number): Float32Array {
  let seed = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 0x01000193);
  return Float32Array.from({ length: count }, (_, i) => {
    let x = (seed + Math.imul(i, 0x9e3779b9)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b) >>> 0;
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35) >>> 0;
    return Math.fround(((x ^ (x >>> 16)) >>> 0) / 2 ** 32 - 0.5);
  });
}

function hashed(name: string, shape: readonly number[]): Tensor {
  const flat = values(name, shape.reduce((a, b) => a * b, 1));
  return tensorOf(name.includes("norm") ? flat.map((x) => Math.fround(1 + Math.fround(Math.fround(0.4) * x))) : flat, shape);
}

/** Names of the weights of a layout: [embedding, final norm, head], and of each layer in the order of their shapes. */
const layouts = {
  text: { all: ["model.embed_tokens", "model.norm", "lm_head"], layer: "model.layers", parts: ["input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] },
  consolidated: { all: ["tok_embeddings", "norm", "output"], layer: "layers", parts: ["attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2"] },
} as const;

/** Where a checkpoint of a model with images keeps the text model. */
export const wrappings: Readonly<Record<string, (name: string) => string>> = {
  "as transformers 5 names them": (name) => name.replace(/^model\./, "model.language_model."),
  "as transformers 4 names them": (name) => `language_model.${name}`,
};

/** Writes a model folder of the configuration, weights by hash of their names; `stored` renames them in the file. */
export async function writeHashedModel(config: Readonly<Record<string, unknown>>, stored: (name: string) => string = (name) => name): Promise<{ modelDir: string; [Symbol.asyncDispose](): Promise<void> }> {
  const modelDir = await mkdtemp(join(tmpdir(), "relative-"));
  await writeFile(join(modelDir, "architectures" in config ? "config.json" : "params.json"), JSON.stringify(config));
  const { layout, nLayers, dModel, dMlp, dVocab, nHeads, nKeyValueHeads, dHead, tiedEmbeddings } = await readModelConfig(modelDir);
  const { all, layer, parts } = layouts[layout === "consolidated" ? "consolidated" : "text"];
  const [q, kv] = [nHeads * dHead, nKeyValueHeads * dHead];
  const shapes = [[dModel], [q, dModel], [kv, dModel], [kv, dModel], [dModel, q], [dModel], [dMlp, dModel], [dMlp, dModel], [dModel, dMlp]];
  const weights: [string, number[]][] = [[all[0], [dVocab, dModel]], [all[1], [dModel]]];
  if (!tiedEmbeddings) weights.push([all[2], [dVocab, dModel]]);
  for (let l = 0; l < nLayers; l++) for (const [i, part] of parts.entries()) weights.push([`${layer}.${l}.${part}`, shapes[i]!]);
  const tensors = Object.fromEntries(weights.map(([name, shape]) => [stored(`${name}.weight`), hashed(`${name}.weight`, shape)]));
  if (stored("model.norm.weight") !== "model.norm.weight") tensors["vision_tower.ln_pre.weight"] = tensorOf(new Float32Array(4));
  await writeSafetensors(join(modelDir, layout === "consolidated" ? "consolidated.safetensors" : "model.safetensors"), tensors);
  return {
    modelDir,
    async [Symbol.asyncDispose]() {
      await rm(modelDir, { recursive: true, force: true });
    },
  };
}
