import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { corpusDir, demoModelDir } from "@mistral-sae/demo-model";
import { openEngine } from "@mistral-sae/model";
import { type Normalization, newRowStats, normalizeRows, writeSae } from "@mistral-sae/sae";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readSequences } from "../../src/perplexity/text.ts";
import { runCli } from "../support/run-cli.ts";

const D = 192;
const BASIS = 110;
const HOOKS = ["blocks.2.hook_resid_pre", "blocks.2.hook_mlp_out"] as const;

/** A topk SAE without training: an orthonormal basis of what rows do about their mean, in both signs. It fits those rows and no others. */
async function writeBasisSae(folder: string, rows: Float32Array, hookName: string, normalizeActivations: Normalization): Promise<void> {
  const n = rows.length / D;
  const mean = new Float32Array(D);
  for (let at = 0; at < rows.length; at++) mean[at % D]! += rows[at]! / n;
  const basis: Float64Array[] = [];
  for (let row = 0; row < n && basis.length < BASIS; row += 7) {
    const rest = Float64Array.from(rows.subarray(row * D, (row + 1) * D), (value, i) => value - mean[i]!);
    for (const direction of basis) {
      const along = direction.reduce((sum, value, i) => sum + value * rest[i]!, 0);
      for (let i = 0; i < D; i++) rest[i]! -= along * direction[i]!;
    }
    const length = Math.hypot(...rest);
    if (length > 1e-3) basis.push(rest.map((value) => value / length));
  }
  const wDec = Float32Array.from(basis.flatMap((direction) => [...direction, ...direction.map((value) => -value)]));
  const dSae = 2 * basis.length;
  await writeSae(folder, {
    config: { architecture: "topk", dIn: D, dSae, k: 48, dtype: "float32", applyBDecToInput: true, normalizeActivations, reshapeActivations: "none", rescaleActsByDecoderNorm: false, metadata: { hook_name: hookName } },
    wEnc: wDec,
    bEnc: new Float32Array(dSae),
    wDec,
    bDec: mean,
  });
}

describe("mistral-sae sae verify", () => {
  let root = "";
  const folder = (name: string): string => join(root, name);
  const verify = async (name: string, ...more: readonly string[]) => await runCli(["--json", "-q", "sae", "verify", folder(name), "--tokens", "700", ...more]);
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "cli-verify-"));
    const { signal } = new AbortController();
    const sequences = await readSequences(demoModelDir, { corpus: [corpusDir], all: false, context: 128, maxTokens: 1500, signal });
    const engine = await openEngine({ modelDir: demoModelDir, precision: "f32" });
    const kept: number[][] = [[], []];
    for await (const { residuals, offsets, sequences: ran } of engine.forward(sequences.map((tokens) => ({ tokens })), { taps: HOOKS.map((hook) => ({ hook })) })) {
      // The rows of BOS are left out.
      for (let i = 0; i < ran.length; i++) for (const [h, rows] of residuals.entries()) kept[h]!.push(...rows.subarray((offsets[i]! + 1) * D, offsets[i + 1]! * D));
    }
    await engine.close();
    const [resid, mlp] = kept.map((values) => Float32Array.from(values)) as [Float32Array, Float32Array];
    await writeBasisSae(folder("right"), resid, "blocks.2.hook_resid_pre", "none");
    await writeBasisSae(folder("same-point"), resid, "blocks.1.hook_resid_post", "none");
    await writeBasisSae(folder("wrong"), mlp, "blocks.2.hook_resid_pre", "none");
    const normalised = new Float32Array(resid.length);
    normalizeRows("layer_norm", resid, D, normalised, newRowStats(resid.length / D));
    await writeBasisSae(folder("normalised"), normalised, "blocks.2.hook_resid_pre", "none");
  });
  afterAll(async () => {
    await rm(root, { recursive: true, force: true });
  });

  it("accepts the hook that fits best, by either of its names, and tells how the others do", async () => {
    const { code, stdout } = await verify("right");
    expect(code).toBe(0);
    const found = JSON.parse(stdout) as { readonly fvu: number; readonly others: readonly { readonly hook_name: string; readonly fvu: number; readonly normalize_activations: string }[] };
    expect(found).toMatchObject({ accepted: true, hook_name: "blocks.2.hook_resid_pre", normalize_activations: "none" });
    expect(found.fvu).toBeLessThan(0.4);
    expect(found.others.every(({ fvu }) => fvu > found.fvu)).toBe(true);
    expect(found.others.map(({ hook_name: hook }) => hook)).toEqual(expect.arrayContaining(["blocks.2.hook_resid_mid", "blocks.2.hook_mlp_out", "blocks.2.hook_attn_out", "blocks.1.hook_mlp_out", "blocks.3.hook_resid_mid"]));
    expect(new Set(found.others.map(({ normalize_activations: kind }) => kind))).toEqual(new Set(["none", "layer_norm", "constant_norm_rescale"]));
    expect((await verify("same-point")).code).toBe(0);
  });

  it("refuses a wrong hook with every figure, and takes the right one when it is given", async () => {
    const { code, stderr } = await verify("wrong");
    expect(code).toBe(2);
    expect(stderr).toMatch(/fits better at blocks\.2\.hook_mlp_out: FVU 0\.\d+ there.*FVU of all: at blocks\.2\.hook_resid_pre .*at blocks\.3\.hook_/);
    expect((await verify("wrong", "--hook-name", "blocks.2.hook_mlp_out")).code).toBe(0);
  });

  it("refuses a wrong normalisation, and takes the right one when it is given", async () => {
    const { code, stderr } = await verify("normalised");
    expect(code).toBe(2);
    expect(stderr).toMatch(/fits better with normalize_activations layer_norm: FVU 0\.\d+ there/);
    expect((await verify("normalised", "--normalize-activations", "layer_norm")).code).toBe(0);
  });

  it("refuses a hook that the model lacks, or whose rows are of another width", async () => {
    expect((await verify("right", "--hook-name", "blocks.9.hook_resid_pre")).stderr).toMatch(/no such hook.*blocks\.9\.hook_resid_pre/);
    expect((await verify("right", "--hook-name", "blocks.1.mlp.hook_post")).stderr).toMatch(/does not fit the hook.*rows of 192/);
  });
});
