import { createHash } from "node:crypto";
import { mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, tensorOf, type Tensor } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openEngine } from "../../src/client/open-engine.ts";
import { readModelSource } from "../../src/graph/model-source.ts";
import { quantiseModel } from "../../src/quantisation/quantise-model.ts";
import { compare } from "../support/compare-logits.ts";
import { dequantiseModel, dequantiseRows } from "../support/dequantise.ts";
import { writeHashedModel } from "../support/hashed-model.ts";
import { writeTinyModel as writeAnyTinyModel, type TinyOptions } from "../support/tiny-model.ts";

/** The tiny model with heads of a width that can be quantised. */
const writeTinyModel = async (options: TinyOptions = {}): ReturnType<typeof writeAnyTinyModel> => await writeAnyTinyModel({ ...options, config: { head_dim: 16, ...options.config } });

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "quantise-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const sha256 = async (file: string): Promise<string> => createHash("sha256").update(await readFile(file)).digest("hex");

/** Changes one field of a folder's config.json. */
async function configure(modelDir: string, change: (config: Record<string, unknown>) => void): Promise<void> {
  const file = join(modelDir, "config.json");
  const config = JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  change(config);
  await writeFile(file, JSON.stringify(config));
}

describe("a quantised model", () => {
  it("has its projections packed on pages, beside the tokenizer's files and the float weights that stay", async () => {
    await using tiny = await writeTinyModel({ dtype: "BF16" });
    await writeFile(join(tiny.modelDir, "tokenizer.json"), "{}");
    const out = join(folder, "packed");
    const { quantisation } = await quantiseModel(tiny.modelDir, out, { precision: "int4", headBits: 8, threads: 1 });
    expect((await readdir(out)).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(quantisation.weightsDigest).toBe(await sha256(join(out, "model.safetensors")));

    const { weights } = await readModelSource(out);
    expect(weights.precision).toBe("int4");
    expect(weights.storedDtypes).toEqual(["BF16", "INT4", "INT8"]);
    expect(weights.parameters).toBe((await readModelSource(tiny.modelDir)).weights.parameters);
    expect(weights.get("model.norm.weight")).toMatchObject({ type: "bfloat16", shape: [32] });
    const qkv = weights.quantised("model.layers.1.self_attn.qkv_proj");
    expect(qkv).toMatchObject({ bits: 4, blockSize: 32, n: 128, k: 32, qweight: { type: "uint8", shape: [128, 1, 16] }, scales: { type: "float32", shape: [128] } });
    expect(weights.quantised("model.layers.2.mlp.down_proj")).toMatchObject({ n: 32, k: 48, qweight: { shape: [32, 2, 16] } });
    expect(weights.quantised("lm_head")).toMatchObject({ bits: 8, n: 96, k: 32, qweight: { shape: [96, 1, 32] } });

    await using source = await openSafetensors(join(tiny.modelDir, "model.safetensors"));
    await using written = await openSafetensors(join(out, "model.safetensors"));
    expect([...written.tensors.values()].filter(({ name, offset }) => !name.startsWith("padding.") && offset % 4096 !== 0)).toEqual([]);
    expect((await written.read("model.embed_tokens.weight")).data).toEqual((await source.read("model.embed_tokens.weight")).data);
    const { data } = await written.read("model.layers.1.self_attn.qkv_proj.qweight");
    const back = dequantiseRows(data, await written.readF32("model.layers.1.self_attn.qkv_proj.scales"), 32, { bits: 4, blockSize: 32 });
    const rows = (await Promise.all(["q", "k", "v"].map(async (part) => [...(await source.readF32(`model.layers.1.self_attn.${part}_proj.weight`))]))).flat();
    for (const [i, value] of rows.entries()) expect(Math.abs(value - back[i]!)).toBeLessThan(0.11);
  });

  it("is the same whatever the threads and the shards", async () => {
    await using single = await writeTinyModel();
    await using sharded = await writeTinyModel({ shards: 2 });
    const digests = [];
    for (const [i, { modelDir }] of [single, single, sharded].entries()) {
      const { quantisation } = await quantiseModel(modelDir, join(folder, `same-${i}`), { precision: "int8", threads: i + 1 });
      digests.push([quantisation.weightsDigest, quantisation.sourceDigest]);
    }
    expect(new Set(digests.map(String)).size).toBe(1);
  });

  it.each([
    ["int8", true],
    ["int4", false],
  ] as const)("predicts at %s what floats of the same values predict, but for its rounded rows", async (precision, tied) => {
    const config = { tie_word_embeddings: tied };
    await using tiny = await writeTinyModel({ config });
    const out = join(folder, `near-${precision}`);
    await quantiseModel(tiny.modelDir, out, { precision });
    const values = await dequantiseModel(out);
    await using same = await writeTinyModel({ config: { ...config, tie_word_embeddings: false }, change: (tensors) => Object.assign(tensors, values) });
    expect(await compare(same.modelDir, out)).toBeGreaterThan(0.993);
  });

  it("is made of Mistral's own layout too, its rotary rows in the usual order", async () => {
    const params = { dim: 32, n_heads: 4, n_kv_heads: 2, head_dim: 16, n_layers: 2, hidden_dim: 48, vocab_size: 96, norm_eps: 1e-5, rope_theta: 10_000 };
    await using model = await writeHashedModel(params, (name) => name);
    const out = join(folder, "consolidated");
    await quantiseModel(model.modelDir, out, { precision: "int8" });
    expect((await readdir(out)).sort()).toEqual(["model.safetensors", "params.json"]);
    expect(await compare(model.modelDir, out)).toBeGreaterThan(0.99);
  });

  it("is refused when its file was changed, cut or described otherwise", async () => {
    await using tiny = await writeTinyModel();
    const made = async (name: string): Promise<string> => {
      const out = join(folder, name);
      await quantiseModel(tiny.modelDir, out, { precision: "int8" });
      return out;
    };
    const changed = await made("changed");
    const handle = await open(join(changed, "model.safetensors"), "r+");
    await handle.write(Uint8Array.of(1), 0, 1, (await handle.stat()).size - 5000);
    await handle.close();
    await expect(openEngine({ modelDir: changed })).rejects.toThrow(/damaged.*weights_digest/s);

    const cut = await made("cut");
    await truncate(join(cut, "model.safetensors"), (await stat(join(cut, "model.safetensors"))).size - 1);
    await expect(openEngine({ modelDir: cut })).rejects.toThrow("model.safetensors");

    const wrong = await made("wrong");
    await configure(wrong, (config) => (config["intermediate_size"] = 64));
    await expect(readModelSource(wrong)).rejects.toThrow(/gate_up_proj\.qweight.*\[96, 1, 32\].*\[128, 1, 32\]/s);

    const other = await made("other");
    await configure(other, (config) => ((config["quantization_config"] as Record<string, unknown>)["format_version"] = 99));
    await expect(readModelSource(other)).rejects.toThrow(/quantization_config\.format_version.*99/s);
  });
});

describe("quantising is refused", () => {
  it.each(["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors"])("for weights in the way of %s", async (method) => {
    await using tiny = await writeTinyModel({ config: { quantization_config: { quant_method: method, bits: 4 } } });
    for (const attempt of [quantiseModel(tiny.modelDir, join(folder, method), { precision: "int4" }), openEngine({ modelDir: tiny.modelDir })]) {
      await expect(attempt).rejects.toMatchObject({ name: "InputError", field: "quantization_config.quant_method", got: method });
    }
  });

  it("for weights that are not finite, naming the tensor, and leaves nothing behind", async () => {
    const name = "model.layers.2.mlp.up_proj.weight";
    await using tiny = await writeTinyModel({
      change: (tensors: Record<string, Tensor>) => {
        tensors[name] = tensorOf(new Float32Array(48 * 32).fill(Number.NaN), [48, 32]);
      },
    });
    const parent = await mkdtemp(join(folder, "none-"));
    await expect(quantiseModel(tiny.modelDir, join(parent, "out"), { precision: "int4" })).rejects.toMatchObject({ name: "InputError", field: name });
    expect(await readdir(parent)).toEqual([]);
  });

  it("where something lies already, for what is quantised already, for narrow heads and for odd blocks", async () => {
    await using tiny = await writeTinyModel();
    await expect(quantiseModel(tiny.modelDir, folder, { precision: "int4" })).rejects.toMatchObject({ field: "out" });
    const out = join(folder, "once");
    await quantiseModel(tiny.modelDir, out, { precision: "int4" });
    await expect(quantiseModel(out, join(folder, "twice"), { precision: "int8" })).rejects.toThrow("quantised already");
    await using narrow = await writeTinyModel({ config: { head_dim: 8 } });
    await expect(quantiseModel(narrow.modelDir, join(folder, "narrow"), { precision: "int4" })).rejects.toMatchObject({ field: "head_dim", got: "8" });
    await expect(quantiseModel(tiny.modelDir, join(folder, "odd"), { precision: "int4", blockSize: 24 })).rejects.toMatchObject({ field: "blockSize" });
  });

  it("once its signal is aborted, and leaves nothing behind", async () => {
    await using tiny = await writeTinyModel();
    const parent = await mkdtemp(join(folder, "stopped-"));
    const stop = new AbortController();
    const onProgress = (): void => stop.abort(new Error("enough"));
    await expect(quantiseModel(tiny.modelDir, join(parent, "out"), { precision: "int4", threads: 1, signal: stop.signal, onProgress })).rejects.toThrow("enough");
    expect(await readdir(parent)).toEqual([]);
  });
});
