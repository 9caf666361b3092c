import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { openSafetensors, tensorOf, writeSafetensors } from "@mistral-sae/tensor";
import { describe, expect, test } from "vitest";
import { hookOfModule, loadSae, SaeCodec, writeSparsify } from "../../src/index.ts";
import { assemble, fixture, largestDifference, noise, randomSae, temporaryFolder } from "../support.ts";

const temporary = temporaryFolder();
const WEIGHTS = fixture("sparsify_sae/layers.16/sae.safetensors");

async function folderOf(name: string, changes: object): Promise<string> {
  const folder = await temporary(name);
  await mkdir(folder, { recursive: true });
  const cfg: object = JSON.parse(await readFile(fixture("sparsify_sae/layers.16/cfg.json"), "utf8"));
  await writeFile(`${folder}/cfg.json`, JSON.stringify({ ...cfg, ...changes }));
  return await assemble(folder, { "sae.safetensors": WEIGHTS });
}

describe("sparsify folders", () => {
  test("count their latents by the expansion factor when num_latents is 0, and drop unknown keys", async () => {
    const { sae } = await loadSae(await folderOf("run/layers.3", { num_latents: 0, expansion_factor: 8, unheard_of: 1 }));
    expect(sae.config.dSae).toBe(512);
  });

  test("take model, data and context from the run's config.json", async () => {
    const folder = await folderOf("described/layers.3.mlp", {});
    await writeFile(`${dirname(folder)}/config.json`, JSON.stringify({ model: "mistral", dataset: "pile", ctx_len: 2048 }));
    expect((await loadSae(folder)).sae.config.metadata).toEqual({ hook_name: "blocks.3.hook_mlp_out", hf_hook_name: "layers.3.mlp", model_name: "mistral", dataset_path: "pile", context_size: 2048 });
  });

  test("with groupmax keep the largest of each group of neighbours", async () => {
    const { sae } = await loadSae(await folderOf("group/layers.1", { activation: "groupmax", k: 4 }));
    const x = noise(5 * 64, 8);
    const pre = new SaeCodec({ ...sae, config: { ...sae.config, architecture: "standard" } }).encodeDense(x);
    const acts = new SaeCodec(sae).encodeDense(x);
    for (let at = 0; at < acts.length; at += 128) {
      const group = pre.subarray(at, at + 128);
      const most = Math.max(...group);
      expect([...acts.subarray(at, at + 128)]).toEqual([...group].map((value) => (value === most ? value : 0)));
    }
  });

  test("of transcoders and of skip connections load", async () => {
    const plain = (await loadSae(await folderOf("plain/layers.1", {}))).sae;
    const transcoder = (await loadSae(await folderOf("t/layers.1", { transcode: true }))).sae;
    expect(transcoder.config).toMatchObject({ dIn: 64, dOut: 64, applyBDecToInput: false, metadata: { hook_name: "blocks.1.hook_resid_pre", hook_name_out: "blocks.1.hook_resid_post" } });
    const x = noise(3 * 64, 4);
    const centred = x.map((value, i) => value - plain.bDec[i % 64]!);
    expect(largestDifference(new SaeCodec(transcoder).reconstruct(centred), new SaeCodec(plain).reconstruct(x))).toBeLessThan(1e-5);
    const folder = await folderOf("s/layers.1/seed3", { skip_connection: true });
    await expect(loadSae(folder)).rejects.toThrow(/W_skip/);
    await using source = await openSafetensors(WEIGHTS);
    const tensors = Object.fromEntries(await Promise.all([...source.tensors.values()].map(async ({ name, shape }) => [name, tensorOf(await source.readF32(name), shape)] as const)));
    const identity = Float32Array.from({ length: 64 * 64 }, (_, i) => (i % 65 === 0 ? 1 : 0));
    await writeSafetensors(`${folder}/sae.safetensors`, { ...tensors, W_skip: tensorOf(identity, [64, 64]) });
    const skip = (await loadSae(folder)).sae;
    expect(skip.config.metadata["hook_name"]).toBe("blocks.1.hook_resid_post");
    expect(largestDifference(new SaeCodec(skip).reconstruct(x), new SaeCodec(plain).reconstruct(x).map((value, i) => value + x[i]!))).toBeLessThan(1e-6);
  });

  test("are written as they are read, decoder norms folded where they select", async () => {
    const topk = { architecture: "topk", k: 3 } as const;
    const transcoder = { dOut: 6, applyBDecToInput: false } as const;
    for (const changes of [topk, { ...topk, ...transcoder }, { ...topk, ...transcoder, skipConnection: true }, { ...topk, skipConnection: true }, { architecture: "groupmax", k: 2 }] as const) {
      const sae = randomSae({ ...changes, metadata: {} });
      const folder = await temporary("written", JSON.stringify(changes).replaceAll(/\W+/g, "-"));
      await writeSparsify(folder, sae);
      expect((await loadSae(folder)).sae).toEqual(sae);
    }
    const rescaled = randomSae({ ...topk, rescaleActsByDecoderNorm: true });
    await writeSparsify(await temporary("rescaled"), rescaled);
    const { sae } = await loadSae(await temporary("rescaled"));
    const x = noise(7 * 6, 21);
    expect(largestDifference(new SaeCodec(sae).encodeDense(x), new SaeCodec(rescaled).encodeDense(x))).toBeLessThan(1e-6);
    expect(largestDifference(new SaeCodec(sae).reconstruct(x), new SaeCodec(rescaled).reconstruct(x))).toBeLessThan(1e-6);
  });

  test("cannot hold other architectures or normalisations", async () => {
    await expect(writeSparsify(await temporary("no"), randomSae())).rejects.toThrow(/architecture.*got standard, wanted topk or groupmax/);
    await expect(writeSparsify(await temporary("no"), randomSae({ architecture: "topk", k: 3, normalizeActivations: "layer_norm" }))).rejects.toThrow(/normalize_activations.*got layer_norm, wanted none/);
    await expect(writeSparsify(await temporary("no"), randomSae({ architecture: "topk", k: 3, dOut: 4, applyBDecToInput: false }))).rejects.toThrow(/d_out.*got 4, wanted d_in 6/);
  });

  test("are refused when their numbers do not fit", async () => {
    for (const [name, changes, message] of [
      ["k/layers.1", { k: 513 }, /got 513, wanted 1 to 512/],
      ["g/layers.1", { activation: "groupmax", k: 5 }, /got 5, wanted a divisor of 512/],
      ["a/layers.1", { activation: "softmax" }, /got softmax, wanted one of topk, groupmax/],
      ["d/layers.1", { d_in: 32 }, /wrong shape.*got \[512, 64\], wanted \[512, 32\]/],
    ] as const) {
      await expect(loadSae(await folderOf(name, changes))).rejects.toThrow(message);
    }
  });

  test("whose name is no hook are told so", async () => {
    expect((await loadSae(await folderOf("oddly-named", {}))).source.warnings).toEqual([expect.stringContaining('"oddly-named"')]);
    expect([hookOfModule("model.layers.7"), hookOfModule("layers.7.self_attn"), hookOfModule("embed_tokens"), hookOfModule("layers.x")]).toEqual(["blocks.7.hook_resid_post", "blocks.7.hook_attn_out", "hook_embed", undefined]);
  });
});
