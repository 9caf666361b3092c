import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, truncate, utimes, writeFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openEngine } from "../../src/client/open-engine.ts";
import { prepareQuantised } from "../../src/quantisation/prepare.ts";
import { quantiseModel } from "../../src/quantisation/quantise-model.ts";
import { writeTinyModel as writeAnyTinyModel, type TinyOptions } from "../support/tiny-model.ts";

/** The tiny model with heads of a width that can be quantised. */
const writeTinyModel = async (options: TinyOptions = {}): ReturnType<typeof writeAnyTinyModel> => await writeAnyTinyModel({ ...options, config: { head_dim: 16, ...options.config } });

let cache = "";
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), "quantised-"));
});
afterEach(async () => {
  await rm(cache, { recursive: true, force: true });
});

describe("a cache of quantised models", () => {
  it("is filled at the first start and found at the next, one folder a precision, nothing in the model's own", async () => {
    await using tiny = await writeTinyModel();
    const before = await readdir(tiny.modelDir);
    const pieces = [0, 0];
    for (const start of pieces.keys()) {
      const onQuantise = (): void => void pieces[start]!++;
      const engine = await openEngine({ modelDir: tiny.modelDir, precision: "int4", quantisedDir: cache, threads: 1, onQuantise });
      expect(engine.info).toMatchObject({ precision: "int4", storedDtypes: ["F32", "INT4"] });
      await engine.close();
    }
    expect(pieces[0]).toBeGreaterThan(0);
    expect(pieces[1]).toBe(0);
    await prepareQuantised(tiny.modelDir, "int8", cache);
    expect((await readdir(cache)).length).toBe(2);
    expect(await readdir(tiny.modelDir)).toEqual(before);
  });

  it("is not used again after the model has changed", async () => {
    await using tiny = await writeTinyModel();
    const first = await prepareQuantised(tiny.modelDir, "int8", cache);
    await utimes(join(tiny.modelDir, "model.safetensors"), new Date(), new Date(Date.now() - 60_000));
    expect(await prepareQuantised(tiny.modelDir, "int8", cache)).not.toBe(first);
  });

  it("makes a torn folder again", async () => {
    await using tiny = await writeTinyModel();
    const made = await prepareQuantised(tiny.modelDir, "int8", cache);
    const weights = join(made, "model.safetensors");
    const { size } = await stat(weights);
    await truncate(weights, 100);
    expect(await prepareQuantised(tiny.modelDir, "int8", cache)).toBe(made);
    expect((await stat(weights)).size).toBe(size);
    await rm(join(made, "config.json"));
    expect(await prepareQuantised(tiny.modelDir, "int8", cache)).toBe(made);
    expect(await readdir(made)).toContain("config.json");
  });

  it("gives askers at the same time the same whole folder", async () => {
    await using tiny = await writeTinyModel();
    const folders = await Promise.all(Array.from({ length: 4 }, async () => await prepareQuantised(tiny.modelDir, "int4", cache, { threads: 1 })));
    expect(new Set(folders).size).toBe(1);
    expect(await readdir(cache)).toHaveLength(1);
  });

  it("takes nothing from a process that was killed halfway, and clears it away once it is old", async () => {
    await using tiny = await writeTinyModel({ config: { vocab_size: 60_000 } });
    const child = fork(new URL("../support/quantise-child.ts", import.meta.url), [tiny.modelDir, cache]);
    await once(child, "message");
    child.kill("SIGKILL");
    await once(child, "exit");
    const [left = ""] = await readdir(cache);
    expect(left).toMatch(/^\..*\.tmp$/);
    const folder = await prepareQuantised(tiny.modelDir, "int4", cache);
    await (await openEngine({ modelDir: folder })).close();
    expect((await readdir(cache)).length).toBe(2);
    const old = new Date(Date.now() - 7_200_000);
    for (const file of [...(await readdir(join(cache, left))), "."]) await utimes(join(cache, left, file), old, old);
    expect(await prepareQuantised(tiny.modelDir, "int4", cache)).toBe(folder);
    expect(await readdir(cache)).toHaveLength(1);
  });

  it("leaves a folder that is quantised as it is, and refuses another precision for it", async () => {
    await using tiny = await writeTinyModel();
    const out = join(cache, "ahead");
    await quantiseModel(tiny.modelDir, out, { precision: "int8" });
    expect(await prepareQuantised(out, "int8", cache)).toBe(out);
    for (const precision of ["int4", "f32"] as const) {
      await expect(openEngine({ modelDir: out, precision, quantisedDir: cache })).rejects.toMatchObject({ name: "InputError", field: "precision", got: precision, wanted: "int8" });
    }
  });

  it("counts files beside the weights as part of the model", async () => {
    await using tiny = await writeTinyModel();
    const first = await prepareQuantised(tiny.modelDir, "int8", cache);
    await writeFile(join(tiny.modelDir, "tokenizer.json"), "{}");
    const second = await prepareQuantised(tiny.modelDir, "int8", cache);
    expect(second).not.toBe(first);
    expect(await readdir(second)).toContain("tokenizer.json");
  });
});
