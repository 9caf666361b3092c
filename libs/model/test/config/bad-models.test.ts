import { chmod, mkdtemp, open, readFile, rm, stat, symlink, truncate, writeFile, mkdir, rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { InputError, tensorOf } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { openEngine, readModelSource } from "../../src/index.ts";
import { tokensOf } from "../support/compare.ts";
import { writeTinyModel, type TinyOptions } from "../support/tiny-model.ts";

async function refusal(modelDir: string): Promise<InputError> {
  const error: unknown = await readModelSource(modelDir).catch((e: unknown) => e);
  if (!(error instanceof InputError)) throw new Error(`not refused as bad input: ${String(error)}`);
  return error;
}

const norm = "model.layers.1.input_layernorm.weight";

describe("a model folder", () => {
  it.each<[string, TinyOptions, string, string]>([
    ["an unknown architecture", { config: { architectures: ["GPT2LMHeadModel"] } }, "architectures", "got GPT2LMHeadModel, wanted MistralForCausalLM or"],
    ["no architecture", { config: { architectures: undefined } }, "architectures", "got none"],
    ["a missing width", { config: { rms_norm_eps: undefined } }, "rms_norm_eps", "got nothing"],
    ["a width of the wrong type", { config: { vocab_size: "96" }, change: () => undefined }, "vocab_size", "got 96, wanted an integer"],
    ["an absurd number of layers", { config: { num_hidden_layers: 3, max_position_embeddings: -1 } }, "max_position_embeddings", "got -1"],
    ["heads that do not divide", { config: { num_key_value_heads: 3 } }, "num_key_value_heads", "wanted a divisor of 4"],
    ["a head of odd width", { config: { head_dim: 11 } }, "head_dim", "got 11, wanted an even number"],
    ["another activation", { config: { hidden_act: "gelu" } }, "hidden_act", "got gelu, wanted silu"],
    ["biases", { config: { attention_bias: true } }, "attention_bias", "got true, wanted false"],
    ["rotary embeddings scaled in an unknown way", { config: { rope_scaling: { type: "longrope", factor: 4 } } }, "rope_scaling.type", "got longrope, wanted default, linear, dynamic, llama3 or yarn"],
    ["a scaling without its factor", { config: { rope_parameters: { rope_type: "yarn" } } }, "rope_parameters.factor", "got nothing"],
    ["a scaling factor of the wrong type", { config: { rope_parameters: { rope_type: "linear", factor: "4" } } }, "rope_parameters.factor", "got 4, wanted a number"],
    ["bounds of frequencies in the wrong order", { config: { rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 1 } } }, "rope_scaling.high_freq_factor", "wanted more than low_freq_factor, 4"],
    ["rotary embeddings for a part of each head", { config: { partial_rotary_factor: 0.5 } }, "partial_rotary_factor", "got 0.5, wanted 1"],
    ["rotary embeddings that differ between layers", { config: { rope_parameters: { full_attention: { rope_type: "default" } } } }, "rope_parameters.full_attention", "differ between layers"],
    ["a window that is set and switched off", { config: { sliding_window: 8, use_sliding_window: false } }, "use_sliding_window", "wanted sliding_window null"],
    ["types of layers that are not one a layer", { config: { architectures: ["MinistralForCausalLM"], layer_types: ["full_attention"] } }, "layer_types", "got 1 types, wanted 3 types"],
    ["an unknown type of layer", { config: { architectures: ["MinistralForCausalLM"], layer_types: ["full_attention", "linear_attention", "full_attention"] } }, "layer_types", "got linear_attention"],
    ["layers with a window of no size", { config: { architectures: ["MinistralForCausalLM"], sliding_window: null, layer_types: ["full_attention", "sliding_attention", "full_attention"] } }, "sliding_window", "layer_types has sliding_attention"],
    ["images and no language model", { config: { architectures: ["Mistral3ForConditionalGeneration"] } }, "text_config", "got nothing"],
    ["images and an unknown language model", { config: { architectures: ["LlavaForConditionalGeneration"], text_config: { model_type: "gemma" } } }, "text_config.model_type", "got gemma, wanted mistral, ministral, ministral3, llama"],
    ["images and a bad language model", { config: { architectures: ["LlavaForConditionalGeneration"], text_config: { model_type: "mistral", vocab_size: 0 } } }, "text_config.vocab_size", "got 0"],
    ["a missing tensor", { change: (tensors) => delete tensors[norm] }, norm, "there is no tensor"],
    ["a tensor of another shape", { change: (tensors) => (tensors[norm] = tensorOf(new Float32Array(31))) }, norm, "got [31], wanted [32]"],
    ["a tensor of integers", { change: (tensors) => (tensors[norm] = tensorOf(new Int32Array(32))) }, `${norm}.dtype`, "got I32, wanted F32, F16, BF16"],
    ["no head and no tie", { change: (tensors) => delete tensors["lm_head.weight"] }, "lm_head.weight", "there is no tensor"],
  ])("with %s is refused by file and field", async (_, options, field, message) => {
    await using model = await writeTinyModel(options);
    const error = await refusal(model.modelDir);
    expect(error.field).toBe(field);
    expect(error.message).toContain(message);
    expect(error.message).toContain(model.modelDir);
  });

  it("with truncated weights is refused", async () => {
    await using model = await writeTinyModel();
    const file = join(model.modelDir, "model.safetensors");
    await truncate(file, (await stat(file)).size - 1);
    expect((await refusal(model.modelDir)).file).toBe(file);
  });

  it("with a lying header is refused", async () => {
    await using model = await writeTinyModel();
    const file = join(model.modelDir, "model.safetensors");
    const bytes = await readFile(file);
    bytes.writeBigUInt64LE(1n << 60n, 0);
    await writeFile(file, bytes);
    expect((await refusal(model.modelDir)).message).toContain("header");
  });

  it("with Git LFS pointers in place of its files is refused by what to do", async () => {
    await using model = await writeTinyModel();
    const pointer = `version https://git-lfs.example/spec/v1\noid sha256:${"0".repeat(64)}\nsize 99\n`;
    await writeFile(join(model.modelDir, "model.safetensors"), pointer);
    expect((await refusal(model.modelDir)).message).toContain("git lfs pull");
    await writeFile(join(model.modelDir, "config.json"), pointer);
    expect((await refusal(model.modelDir)).message).toContain("git lfs pull");
  });

  it("in Mistral's own layout that needs what is not built is refused by field", async () => {
    await using model = await writeTinyModel();
    await rename(join(model.modelDir, "config.json"), join(model.modelDir, "old.json"));
    const params = { dim: 32, n_layers: 3, head_dim: 8, hidden_dim: 48, n_heads: 4, n_kv_heads: 2, norm_eps: 1e-5, vocab_size: 96 };
    const cases: [Record<string, unknown>, string, string][] = [
      [params, "rope_theta", "got nothing"],
      [{ ...params, moe: { num_experts: 8 } }, "moe", "wanted the folder in the Hugging Face layout, with config.json"],
      [{ ...params, yarn: {} }, "yarn", "Hugging Face layout"],
      [{ ...params, rope_theta: 1e6, sliding_window: [4, 8] }, "sliding_window", "differ between layers"],
      [{ ...params, rope_theta: 1e6, n_heads: 3 }, "n_kv_heads", "wanted a divisor of 3"],
    ];
    for (const [content, field, message] of cases) {
      await writeFile(join(model.modelDir, "params.json"), JSON.stringify(content));
      const error = await refusal(model.modelDir);
      expect(error).toMatchObject({ field, file: join(model.modelDir, "params.json") });
      expect(error.message).toContain(message);
    }
    await writeFile(join(model.modelDir, "params.json"), JSON.stringify({ ...params, rope_theta: 1e6 }));
    expect((await refusal(model.modelDir)).message).toContain("consolidated.safetensors");
  });

  it("with a missing shard is refused", async () => {
    await using model = await writeTinyModel({ shards: 2 });
    const file = join(model.modelDir, "model-00002-of-00002.safetensors");
    await rm(file);
    expect((await refusal(model.modelDir)).file).toBe(file);
  });

  it("with a config.json that is not JSON, not an object, or not there is refused", async () => {
    await using model = await writeTinyModel();
    const file = join(model.modelDir, "config.json");
    await writeFile(file, "{");
    expect((await refusal(model.modelDir)).message).toContain("not JSON");
    await writeFile(file, "[]");
    expect((await refusal(model.modelDir)).message).toContain("wanted an object");
    await rm(file);
    expect((await refusal(model.modelDir)).message).toContain("ENOENT");
    expect((await refusal(join(model.modelDir, "nowhere"))).message).toContain("ENOENT");
  });

  it("whose weights are links into other folders, as in a hub cache, is loaded from there, also where nothing can be written", async () => {
    await using model = await writeTinyModel({ shards: 2 });
    const whole = await openEngine({ modelDir: model.modelDir, threads: 1 });
    const wanted = (await whole.logits({ tokens: tokensOf(5, 96) })).logits;
    await whole.close();
    const cache = await mkdtemp(join(tmpdir(), "hub-"));
    const folders = ["blobs", join("other", "disk"), "snapshots"].map((name) => join(cache, name));
    try {
      for (const folder of folders) await mkdir(folder, { recursive: true });
      for (const name of ["config.json", "model.safetensors.index.json"]) await rename(join(model.modelDir, name), join(cache, "snapshots", name));
      for (const [i, name] of ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].entries()) {
        const place = join(folders[i]!, `blob${i}`);
        await rename(join(model.modelDir, name), place);
        await symlink(relative(join(cache, "snapshots"), place), join(cache, "snapshots", name));
      }
      for (const folder of folders) await chmod(folder, 0o555);
      const engine = await openEngine({ modelDir: join(cache, "snapshots"), threads: 1 });
      expect((await engine.logits({ tokens: tokensOf(5, 96) })).logits).toEqual(wanted);
      await engine.close();
    } finally {
      for (const folder of folders) await chmod(folder, 0o755);
      await rm(cache, { recursive: true, force: true });
    }
  });

  it("is never written to", async () => {
    await using model = await writeTinyModel();
    const handle = await open(model.modelDir, "r");
    const before = (await handle.stat()).mtimeMs;
    const engine = await openEngine({ modelDir: model.modelDir, threads: 1 });
    await engine.logits({ tokens: tokensOf(5, 96) });
    await engine.close();
    expect((await handle.stat()).mtimeMs).toBe(before);
    await handle.close();
  });
});

describe("opening an engine", () => {
  it("refuses what cannot be run with the same error, across threads", async () => {
    await using model = await writeTinyModel({ config: { hidden_act: "gelu" } });
    const error: unknown = await openEngine({ modelDir: model.modelDir, threads: 1 }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InputError);
    expect(error).toEqual(await refusal(model.modelDir));
    expect(error).toMatchObject({ file: join(model.modelDir, "config.json"), field: "hidden_act", got: "gelu", wanted: "silu" });
  });

  it("refuses options that make no sense", async () => {
    await expect(openEngine({ modelDir: "x", threads: 0 })).rejects.toThrow("threads is out of range (got 0, wanted an integer from 1)");
  });

  it("limits the context to what is asked for", async () => {
    await using model = await writeTinyModel();
    const engine = await openEngine({ modelDir: model.modelDir, threads: 1, maxContext: 16 });
    expect(engine.info.nCtx).toBe(16);
    await expect(engine.logits({ tokens: tokensOf(17, 96) })).rejects.toThrow("at most 16 tokens");
    await engine.close();
  });
});
