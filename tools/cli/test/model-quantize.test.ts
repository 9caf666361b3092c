import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { demoModelDir } from "@mistral-sae/demo-model";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "./support/run-cli.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-quantize-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe("mistral-sae model", () => {
  it("quantize writes a folder that loads like any other", async () => {
    const out = join(folder, "demo-int4");
    const { code, stdout } = await runCli(["--json", "model", "quantize", demoModelDir, "--precision", "int4", "--head-bits", "8", "--out", out]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ out, precision: "int4", block_size: 32, module_bits: { lm_head: 8 }, source_bytes: 6_294_912 });
    expect((await readdir(out)).sort()).toEqual((await readdir(demoModelDir)).sort());
    const inspected = await runCli(["--json", "model", "inspect", out]);
    expect(JSON.parse(inspected.stdout)).toMatchObject({ parameters: 3_147_456, dtypes: ["F16", "INT4", "INT8"] });
  });

  it.each([
    ["a target that is there", ["--precision", "int4", "--out", "."], "something at the target"],
    ["no precision", ["--out", "somewhere"], "--precision"],
    ["another precision", ["--precision", "int2", "--out", "somewhere"], "int8, int4"],
  ])("quantize refuses %s", async (_, args, message) => {
    const { code, stderr } = await runCli(["model", "quantize", demoModelDir, ...args], { cwd: folder });
    expect(code).toBe(2);
    expect(stderr).toContain(message);
  });

  it("perplexity compares the precisions of a model on held-back text: int8 within 0.1%, int4 within 3%", async () => {
    const env = { MISTRAL_SAE_CACHE: join(folder, "cache") };
    const { code, stdout } = await runCli(["--json", "model", "perplexity", demoModelDir], { env });
    expect(code).toBe(0);
    const rows = JSON.parse(stdout) as { precision: string; tokens: number; perplexity: number; increase: number }[];
    expect(rows.map(({ precision }) => precision)).toEqual(["f32", "int8", "int4"]);
    expect(rows[0]).toMatchObject({ tokens: 58_486, increase: 0 });
    expect(rows[0]?.perplexity).toBeCloseTo(4.975, 2);
    expect(rows[1]?.increase).toBeLessThan(0.001);
    expect(rows[2]?.increase).toBeLessThan(0.03);
  }, 180_000);

  it("perplexity refuses text of which none is held back", async () => {
    const { code, stderr } = await runCli(["model", "perplexity", demoModelDir, "--corpus", join(demoModelDir, "config.json")]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/jsonl|held back/);
  });
});
