import { loadSae, Random, rowNorms } from "@mistral-sae/sae";
import { openSafetensors, tensorOf, writeSafetensors } from "@mistral-sae/tensor";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../support/run-cli.ts";

const parity = join(import.meta.dirname, "../../../../libs/sae/test/fixtures/seed_training_parity");
const dIn = 24;
const rows = 6000;
let root = "";
let activations = "";

interface Printed {
  readonly steps: number;
  readonly n_training_tokens: number;
  readonly fvu: number;
  readonly l0: number;
  readonly num_dead: number;
  readonly weights_sha256: string;
}

async function train(...args: readonly string[]): Promise<Printed> {
  const ended = await runCli(["--json", "--quiet", "train", ...args]);
  expect(ended.stderr, ended.stderr).toBe("");
  return JSON.parse(ended.stdout) as Printed;
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "cli-train-"));
  activations = join(root, "rows.safetensors");
  const random = new Random(5);
  const directions = Float32Array.from({ length: 48 * dIn }, () => random.uniform(-1, 1));
  const x = new Float32Array(rows * dIn);
  for (let row = 0; row < rows; row++) {
    for (let part = 0; part < 4; part++) {
      const direction = random.nextUint32() % 48;
      const size = random.uniform(1, 3);
      for (let i = 0; i < dIn; i++) x[row * dIn + i]! += size * directions[direction * dIn + i]! + 0.5;
    }
  }
  await writeSafetensors(activations, { x: tensorOf(x, [rows, dIn]) });
});
afterAll(() => rm(root, { recursive: true, force: true }));

describe("train --activations", () => {
  it("writes a SAELens folder with unit decoder rows that explains the rows", async () => {
    const out = join(root, "gao");
    const printed = await train("--activations", activations, "--d-sae", "96", "--k", "6", "--batch-tokens", "256", "--epochs", "12", "--lr", "3e-3", "--hook-name", "blocks.2.hook_resid_pre", "--threads", "2", "--out", out);
    expect(printed.steps).toBe(Math.floor((rows * 12) / 256));
    expect(printed.fvu).toBeLessThan(0.2);
    expect(await readdir(out)).toEqual(["cfg.json", "sae_weights.safetensors"]);
    const { sae } = await loadSae(out);
    expect(sae.config).toMatchObject({ architecture: "topk", dIn, dSae: 96, k: 6, normalizeActivations: "none", metadata: { hook_name: "blocks.2.hook_resid_pre" } });
    expect(Math.max(...rowNorms(sae.wDec, dIn).map((norm) => Math.abs(norm - 1)))).toBeLessThan(1e-6);
  });

  it("trains the same bits again with equal options, and from several files as from one", async () => {
    await using file = await openSafetensors(activations);
    const half = rows / 2;
    const parts = [join(root, "a.safetensors"), join(root, "b.safetensors")];
    for (const [i, path] of parts.entries()) {
      await writeSafetensors(path, { x: tensorOf(await file.readF32("x", { rows: { start: i * half, end: (i + 1) * half } }), [half, dIn]) });
    }
    const options = ["--d-sae", "64", "--k", "4", "--batch-tokens", "500", "--steps", "30", "--threads", "2", "--seed", "3"];
    const one = await train("--activations", activations, ...options, "--out", join(root, "one"));
    const again = await train("--activations", activations, ...options, "--out", join(root, "again"));
    const two = await train("--activations", parts[0]!, "--activations", parts[1]!, ...options, "--out", join(root, "two"));
    expect(again.weights_sha256).toBe(one.weights_sha256);
    expect(two.weights_sha256).toBe(one.weights_sha256);
  });

  it("reaches the original's weights in seed_compat from a legacy folder, batches in order", async () => {
    const start = join(root, "step0");
    await mkdir(start);
    await using step0 = await openSafetensors(join(parity, "params_step0.safetensors"));
    const named = { W_enc: "w_enc", b_enc: "b_enc", W_dec: "w_dec", b_dec: "b_pre" };
    await writeSafetensors(join(start, "sae_weights.safetensors"), Object.fromEntries(await Promise.all(Object.entries(named).map(async ([name, from]) => [name, await step0.read(from)]))));
    const { config } = JSON.parse(await readFile(join(parity, "log.json"), "utf8")) as { config: { lr: number; dead_steps: number } };
    await writeFile(
      join(start, "cfg.json"),
      JSON.stringify({ architecture: "standard", d_in: 64, d_sae: 512, activation_fn_str: "topk", activation_fn_kwargs: { k: 16 }, apply_b_dec_to_input: true, normalize_activations: "layer_norm", finetuning_scaling_factor: false, dtype: "float32", hook_name: "blocks.16.hook_mlp_out", prepend_bos: false }),
    );
    const out = join(root, "step100");
    const printed = await train(
      "--activations", join(parity, "data.safetensors"), "--init-from", start, "--no-shuffle", "--steps", "100", "--out", out,
      "--formulation", "seed_compat", "--batch-tokens", "128", "--lr", String(config.lr), "--dead-tokens", String(config.dead_steps * 256), "--threads", "2",
    );
    expect(printed).toMatchObject({ steps: 100, n_training_tokens: 12_800, num_dead: 346 });
    await using wanted = await openSafetensors(join(parity, "params_step100.safetensors"));
    await using got = await openSafetensors(join(out, "sae_weights.safetensors"));
    for (const [name, from] of Object.entries(named)) {
      const [ours, theirs] = [await got.readF32(name), await wanted.readF32(from)];
      expect(Math.max(...ours.map((value, i) => Math.abs(value - theirs[i]!))), name).toBeLessThan(1e-5);
    }
    expect(JSON.parse(await readFile(join(out, "cfg.json"), "utf8"))).toMatchObject({ architecture: "topk", k: 16, normalize_activations: "layer_norm" });
  });

  it.each([
    ["a file without the tensor", ["--tensor", "y", "--d-sae", "8", "--k", "2"], /no tensor "y"/],
    ["rows that do not make a batch", ["--d-sae", "8", "--k", "2", "--batch-tokens", "7000"], /one batch/],
    ["no width", ["--k", "2"], /width of the SAE/],
    ["k beyond d_sae", ["--d-sae", "8", "--k", "9"], /k is out of range[^]*9[^]*1 to 8/],
    ["an option of the service", ["--d-sae", "8", "--k", "2", "--corpus", "x.txt"], /--corpus belongs to a training on text/],
    ["two lengths", ["--d-sae", "8", "--k", "2", "--steps", "1", "--epochs", "1"], /given twice/],
    ["a training that does not fit", ["--d-sae", "8000000", "--k", "2"], /needs weights/],
  ])("refuses %s and writes nothing", async (_, args, message) => {
    const out = join(root, "refused");
    const ended = await runCli(["train", "--activations", activations, ...args, "--out", out]);
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(message);
    await expect(readdir(out)).rejects.toThrow("ENOENT");
  });
});
