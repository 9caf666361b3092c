import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSae, SaeCodec, type SaeWeights, writeSae } from "@mistral-sae/sae";
import { openSafetensors, tensorOf, writeSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const COMMAND = join(import.meta.dirname, "../../bin/mistral-sae.mjs");
const D_IN = 12;
const D_SAE = 40;
const ROWS = 3000;

let root = "";
let saeFolder = "";
let input = "";
let sae: SaeWeights;
let x: Float32Array<ArrayBuffer>;

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the real command. */
async function mistralSae(...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, stdout, stderr };
}

function noise(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "cli-sae-"));
  saeFolder = join(root, "sae");
  input = join(root, "x.safetensors");
  x = noise(ROWS * D_IN, 1).map((value) => value * 3);
  sae = {
    config: {
      architecture: "topk",
      dIn: D_IN,
      dSae: D_SAE,
      k: 5,
      dtype: "float32",
      applyBDecToInput: true,
      normalizeActivations: "layer_norm",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: { hook_name: "blocks.1.hook_resid_post", model_name: "tiny", kept: { as: "is" } },
    },
    wEnc: noise(D_SAE * D_IN, 2),
    bEnc: noise(D_SAE, 3),
    wDec: noise(D_SAE * D_IN, 4),
    bDec: noise(D_IN, 5),
  };
  await writeSae(saeFolder, sae);
  await writeSafetensors(input, { x: tensorOf(x, [ROWS, D_IN]), half: tensorOf(new Float16Array(x), [ROWS, D_IN]), wide: tensorOf(new Float32Array(26), [2, 13]), flat: tensorOf(new Float32Array(12)) });
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

describe("sae encode", () => {
  test("writes activations and reconstructions of every row, and says how well the SAE fits", async () => {
    const output = join(root, "made", "out.safetensors");
    const { code, stdout, stderr } = await mistralSae("sae", "encode", "--sae", saeFolder, "--input", input, "--output", output, "--json");
    expect({ code, stderr: stderr.includes("error") }).toEqual({ code: 0, stderr: false });
    const codec = new SaeCodec(sae);
    await using file = await openSafetensors(output);
    expect([...file.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, ...shape])).toEqual([["feature_acts", "F32", ROWS, D_SAE], ["reconstruction", "F32", ROWS, D_IN]]);
    expect(await file.readF32("feature_acts")).toEqual(codec.encodeDense(x));
    const reconstruction = codec.reconstruct(x);
    expect(await file.readF32("reconstruction")).toEqual(reconstruction);
    const mean = Array.from({ length: D_IN }, (_, j) => x.reduce((sum, value, at) => (at % D_IN === j ? sum + value : sum), 0) / ROWS);
    const variance = x.reduce((sum, value, at) => sum + (value - mean[at % D_IN]!) ** 2, 0);
    const residual = x.reduce((sum, value, at) => sum + (value - reconstruction[at]!) ** 2, 0);
    const said = JSON.parse(stdout) as Record<string, number>;
    expect(said).toMatchObject({ rows: ROWS, d_in: D_IN, d_sae: D_SAE, l0: codec.encodeRows(x).indices.length / ROWS });
    expect(said["fvu"]).toBeCloseTo(residual / variance, 9);
    expect(await readdir(join(root, "made"))).toEqual(["out.safetensors"]);
  });

  test("reads other float types and other tensor names", async () => {
    const output = join(root, "half.safetensors");
    expect((await mistralSae("sae", "encode", "--sae", saeFolder, "--input", input, "--tensor", "half", "--output", output, "-q")).code).toBe(0);
    await using file = await openSafetensors(output);
    expect(await file.readF32("reconstruction")).toEqual(new SaeCodec(sae).reconstruct(new Float32Array(new Float16Array(x))));
  });

  test("refuses bad input with exit code 2, names file, field, got and wanted, and leaves no output", async () => {
    const bad = x.slice(0, 10 * D_IN);
    bad[7 * D_IN + 2] = NaN;
    await writeSafetensors(join(root, "nan.safetensors"), { x: tensorOf(bad, [10, D_IN]) });
    const bytes = await readFile(input);
    await writeFile(join(root, "cut.safetensors"), bytes.subarray(0, bytes.length - 100));
    await mkdir(join(root, "out"));
    const output = join(root, "out", "o.safetensors");
    const cases: [string[], Record<string, unknown>][] = [
      [["--input", input, "--tensor", "wide"], { file: input, field: "wide", got: "shape [2, 13]", wanted: "[n, 12] (d_in 12 of the SAE)" }],
      [["--input", input, "--tensor", "flat"], { file: input, field: "flat", got: "shape [12]" }],
      [["--input", input, "--tensor", "nothing"], { file: input, field: "nothing", got: expect.stringContaining("half") }],
      [["--input", join(root, "nan.safetensors")], { file: join(root, "nan.safetensors"), field: "x[7, 2]", got: "NaN", wanted: "a finite number" }],
      [["--input", join(root, "cut.safetensors")], { file: join(root, "cut.safetensors"), field: expect.stringContaining("data_offsets"), wanted: expect.stringContaining("end") }],
      [["--input", join(root, "nowhere.safetensors")], { file: join(root, "nowhere.safetensors"), message: "there is no such file" }],
    ];
    for (const [args, wanted] of cases) {
      const { code, stderr } = await mistralSae("--json", "-q", "sae", "encode", "--sae", saeFolder, "--output", output, ...args);
      expect(code).toBe(2);
      expect(JSON.parse(stderr)).toMatchObject({ error: wanted });
      expect(await readdir(join(root, "out"))).toEqual([]);
    }
  });

  test("interrupted leaves no output", async () => {
    const many = join(root, "many.safetensors");
    await writeSafetensors(many, { x: tensorOf(noise(400_000 * D_IN, 6), [400_000, D_IN]) });
    const folder = join(root, "interrupted");
    await mkdir(folder);
    const child = spawn(process.execPath, [COMMAND, "sae", "encode", "--sae", saeFolder, "--input", many, "--output", join(folder, "o.safetensors")], { stdio: "ignore" });
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    while (!(await readdir(folder)).some((name) => name.endsWith(".tmp"))) {
      await new Promise((resolve) => {
        setTimeout(resolve, 10);
      });
    }
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(await readdir(folder)).toEqual([]);
  });
});

describe("sae inspect", () => {
  test("tells format, configuration, tensors, norms and digest", async () => {
    const { code, stdout } = await mistralSae("sae", "inspect", saeFolder, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      format: "saelens",
      path: saeFolder,
      digest: expect.stringMatching(/^[0-9a-f]{64}$/),
      cfg: { architecture: "topk", k: 5, d_in: D_IN, d_sae: D_SAE, normalize_activations: "layer_norm", metadata: { hook_name: "blocks.1.hook_resid_post", kept: { as: "is" } } },
      tensors: expect.arrayContaining([{ file: "sae_weights.safetensors", name: "W_enc", dtype: "F32", shape: [D_IN, D_SAE] }]),
      weights: { zero_features: 0, decoder_norm: { min: expect.any(Number) } },
      warnings: [],
    });
    const text = await mistralSae("sae", "inspect", saeFolder);
    expect(text.stdout).toMatch(/architecture +topk, k 5/);
  });

  test("counts dead and dense features from the firing rates beside the weights", async () => {
    const folder = join(root, "rated");
    await writeSae(folder, sae);
    await writeSafetensors(join(folder, "sparsity.safetensors"), { sparsity: tensorOf(Float32Array.from({ length: D_SAE }, (_, f) => (f < 3 ? -10 : f < 5 ? -0.5 : -2))) });
    const { stdout } = await mistralSae("sae", "inspect", folder, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ firing_rates: { dead: 3, dense: 2 } });
  });

  test("refuses a folder that holds no SAE", async () => {
    const { code, stderr } = await mistralSae("sae", "inspect", join(root, "out"));
    expect(code).toBe(2);
    expect(stderr).toMatch(/error: the folder holds no SAE\n {2}file: .*\n {2}got: +an empty folder\n {2}wanted: sae_weights/);
  });
});

describe("sae convert", () => {
  test("writes a SAELens 6 folder that loads as the same SAE, with another hook or dtype when asked", async () => {
    const same = join(root, "same");
    const { code, stdout } = await mistralSae("sae", "convert", saeFolder, same, "--json");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ from_format: "saelens", folder: same, cfg: { architecture: "topk" } });
    expect((await loadSae(same)).sae).toEqual((await loadSae(saeFolder)).sae);
    const other = join(root, "other");
    await mistralSae("sae", "convert", saeFolder, other, "--dtype", "bfloat16", "--hook-name", "blocks.2.hook_resid_pre");
    expect((await loadSae(other)).sae.config).toMatchObject({ dtype: "bfloat16", metadata: { hook_name: "blocks.2.hook_resid_pre", kept: { as: "is" } } });
  });

  test("never overwrites, and leaves nothing of a conversion that fails", async () => {
    const before = await readdir(root);
    const there = await mistralSae("sae", "convert", saeFolder, saeFolder);
    expect(there.code).toBe(2);
    expect(there.stderr).toContain("the output is there already");
    const nowhere = await mistralSae("sae", "convert", join(root, "nowhere"), join(root, "never"));
    expect(nowhere.code).toBe(2);
    expect(await readdir(root)).toEqual(before);
  });

  test("refuses an option that the input has no use for", async () => {
    const { code, stderr } = await mistralSae("sae", "convert", saeFolder, join(root, "unused"), "--k", "3");
    expect(code).toBe(2);
    expect(stderr).toContain("takes no such option");
  });
});
