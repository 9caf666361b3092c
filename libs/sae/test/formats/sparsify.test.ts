import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { describe, expect, test } from "vitest";
import { hookOfModule, loadSae, SaeCodec } from "../../src/index.ts";
import { assemble, fixture, noise, temporaryFolder } from "../support.ts";

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

  test("are refused when they are transcoders or their numbers do not fit", async () => {
    for (const [name, changes, message] of [
      ["t/layers.1", { transcode: true }, /transcode; got true/],
      ["s/layers.1", { skip_connection: true }, /skip_connection; got true/],
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
