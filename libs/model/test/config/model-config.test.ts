import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ModelConfig, readModelConfig } from "../../src/index.ts";
import { tinyConfig } from "../support/tiny-model.ts";

describe("what a configuration means", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "config-"));
  });
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  async function read(config: Readonly<Record<string, unknown>>): Promise<ModelConfig> {
    await writeFile(join(folder, "config.json"), JSON.stringify({ ...tinyConfig, ...config }));
    return await readModelConfig(folder);
  }

  it("a Mistral without sliding_window has transformers' window of 4096, null has none", async () => {
    expect((await read({})).slidingWindows).toEqual([4096, 4096, 4096]);
    expect((await read({ sliding_window: null })).slidingWindows).toEqual([undefined, undefined, undefined]);
    expect((await read({ sliding_window: 8, use_sliding_window: true })).slidingWindows).toEqual([8, 8, 8]);
  });

  it("a Llama has no window, whatever the file says", async () => {
    expect((await read({ architectures: ["LlamaForCausalLM"], sliding_window: 8 })).slidingWindows).toEqual([undefined, undefined, undefined]);
  });

  it("only Ministral heeds layer_types, as in transformers", async () => {
    const layers = { sliding_window: 8, layer_types: ["full_attention", "sliding_attention", "full_attention"] };
    expect((await read({ architectures: ["MinistralForCausalLM"], ...layers })).slidingWindows).toEqual([undefined, 8, undefined]);
    expect((await read(layers)).slidingWindows).toEqual([8, 8, 8]);
  });

  it("rope_theta inside the rotary parameters comes before the one beside them", async () => {
    expect((await read({ rope_theta: 5000 })).rope.theta).toBe(5000);
    expect((await read({ rope_theta: 5000, rope_parameters: { rope_type: "default", rope_theta: 7000 } })).rope.theta).toBe(7000);
    expect((await read({ rope_theta: undefined })).rope.theta).toBe(10_000);
  });

  it("the query scale of Ministral 3 bounds the positions to those where it is 1", async () => {
    const rope = { rope_type: "yarn", factor: 16, original_max_position_embeddings: 256 };
    expect((await read({ rope_parameters: { ...rope, llama_4_scaling_beta: 0.1 } })).maxPositions).toBe(256);
    expect((await read({ rope_parameters: rope })).maxPositions).toBe(700);
  });

  it("YaRN's factor on the attention follows mscale and mscale_all_dim unless it is given", async () => {
    const factor = async (more: Readonly<Record<string, number>>): Promise<number> => {
      const { scaling } = (await read({ rope_scaling: { type: "yarn", factor: 16, original_max_position_embeddings: 256, ...more } })).rope;
      if (scaling.kind !== "yarn") throw new Error(`read as ${scaling.kind}`);
      return scaling.attentionFactor;
    };
    expect(await factor({})).toBeCloseTo(1.27725887, 7);
    expect(await factor({ mscale: 1, mscale_all_dim: 1 })).toBe(1);
    expect(await factor({ mscale: 1 })).toBeCloseTo(1.27725887, 7);
    expect(await factor({ attention_factor: 1.5 })).toBe(1.5);
  });

  it("a nested language model takes transformers' defaults for what is left out, and its ids end sequences", async () => {
    const config = await read({ architectures: ["LlavaForConditionalGeneration"], text_config: { model_type: "mistral", head_dim: 128, hidden_size: 5120, num_hidden_layers: 2, rope_theta: 1e9, sliding_window: null, max_position_embeddings: 1_024_000, rms_norm_eps: 1e-5, vocab_size: 131_072 } });
    expect(config).toMatchObject({ hasVision: true, dModel: 5120, nHeads: 32, nKeyValueHeads: 8, dHead: 128, dMlp: 14_336, maxPositions: 1_024_000, bosTokenId: 1, eosTokenIds: [2], tiedEmbeddings: false });
    expect((await read({ architectures: ["Mistral3ForConditionalGeneration"], tie_word_embeddings: undefined, text_config: { ...tinyConfig, model_type: "ministral3" } })).tiedEmbeddings).toBe(true);
  });
});
