import { mkdtemp, open, readFile, rm, stat, symlink, truncate, writeFile, mkdir, rename } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
    ["an unknown architecture", { config: { architectures: ["GPT2LMHeadModel"] } }, "architectures", "got GPT2LMHeadModel, wanted MistralForCausalLM"],
    ["no architecture", { config: { architectures: undefined } }, "architectures", "got none"],
    ["a missing width", { config: { rms_norm_eps: undefined } }, "rms_norm_eps", "got nothing"],
    ["a width of the wrong type", { config: { vocab_size: "96" }, change: () => undefined }, "vocab_size", "got 96, wanted an integer"],
    ["an absurd number of layers", { config: { num_hidden_layers: 3, max_position_embeddings: -1 } }, "max_position_embeddings", "got -1"],
    ["heads that do not divide", { config: { num_key_value_heads: 3 } }, "num_key_value_heads", "wanted a divisor of 4"],
    ["a head width that the engine lacks", { config: { head_dim: 12 } }, "head_dim", "wanted a multiple of 8"],
    ["another activation", { config: { hidden_act: "gelu" } }, "hidden_act", "got gelu, wanted silu"],
    ["biases", { config: { attention_bias: true } }, "attention_bias", "got true, wanted false"],
    ["scaled rotary embeddings", { config: { rope_scaling: { type: "yarn", factor: 4 } } }, "rope_scaling.rope_type", "got yarn, wanted default"],
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

  it("whose weights are links into another folder, as in a hub cache, is loaded from there", async () => {
    await using model = await writeTinyModel({ shards: 2 });
    const cache = await mkdtemp(join(tmpdir(), "hub-"));
    try {
      await mkdir(join(cache, "blobs"));
      await mkdir(join(cache, "snapshots"));
      await rename(join(model.modelDir, "config.json"), join(cache, "snapshots", "config.json"));
      await rename(join(model.modelDir, "model.safetensors.index.json"), join(cache, "snapshots", "model.safetensors.index.json"));
      for (const [i, name] of ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].entries()) {
        await rename(join(model.modelDir, name), join(cache, "blobs", `blob${i}`));
        await symlink(join("..", "blobs", `blob${i}`), join(cache, "snapshots", name));
      }
      const engine = await openEngine({ modelDir: join(cache, "snapshots"), threads: 1 });
      expect((await engine.logits({ tokens: tokensOf(5, 96) })).logits.length).toBe(96);
      await engine.close();
    } finally {
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
