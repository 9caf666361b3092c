import { cp, mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { demoModelDir } from "@mistral-sae/demo-model";
import { openEngine } from "@mistral-sae/model";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "./support/run-cli.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-model-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("mistral-sae model", () => {
  it("logits writes the logits and the residual of each hook", async () => {
    const output = join(folder, "out.safetensors");
    const hooks = ["blocks.2.hook_resid_post", "blocks.0.hook_resid_pre"];
    const { code, stdout } = await runCli(["--json", "model", "logits", "--model", demoModelDir, "--tokens", "1,465,456,263", "--hooks", hooks.join(","), "--output", output]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ output, tokens: 4, tensors: [{ name: "logits", shape: [4, 4096] }, { name: hooks[0], shape: [4, 192] }, { name: hooks[1], shape: [4, 192] }] });
    const tokens = Uint32Array.of(1, 465, 456, 263);
    const engine = await openEngine({ modelDir: demoModelDir });
    const { logits } = await engine.logits({ tokens }, { positions: "all" });
    let residuals: readonly Float32Array[] = [];
    for await (const batch of engine.forward([{ tokens }], { taps: hooks.map((hook) => ({ hook })) })) ({ residuals } = batch);
    await engine.close();
    await using file = await openSafetensors(output);
    expect([...file.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
      [hooks[1], "F32", [4, 192]],
      [hooks[0], "F32", [4, 192]],
      ["logits", "F32", [4, 4096]],
    ]);
    expect(await file.readF32("logits")).toEqual(logits);
    for (const [i, hook] of hooks.entries()) expect(await file.readF32(hook)).toEqual(residuals[i]);
  });

  it.each([
    ["a token outside the vocabulary", ["--tokens", "1,4096"], "below 4096"],
    ["a hook that is not there", ["--tokens", "1", "--hooks", "blocks.9.hook_resid_post"], "--hooks"],
    ["more tokens than the context", ["--tokens", Array(513).fill(1).join(",")], "at most 512 tokens"],
  ])("logits refuses %s and writes nothing", async (_, args, message) => {
    const target = await mkdtemp(join(folder, "none-"));
    const { code, stderr } = await runCli(["model", "logits", "--model", demoModelDir, "--output", join(target, "out.safetensors"), ...args]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(await readdir(target)).toEqual([]);
  });

  it("inspect tells what a folder holds", async () => {
    const { code, stdout } = await runCli(["--json", "model", "inspect", demoModelDir]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ architecture: "MistralForCausalLM", n_layers: 4, d_model: 192, d_vocab: 4096, parameters: 3_147_456, dtypes: ["F16"], tie_word_embeddings: false, sliding_windows: [null, null, null, null], eos_token_ids: [2] });
  });

  it("inspect refuses truncated weights by file, with exit code 2", async () => {
    const broken = join(folder, "broken");
    await cp(demoModelDir, broken, { recursive: true });
    await truncate(join(broken, "model.safetensors"), 1_000_000);
    const { code, stderr } = await runCli(["--json", "model", "inspect", broken]);
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toMatchObject({ error: { file: join(broken, "model.safetensors") } });
  });
});
