import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { greedy, openEngine, readModelSource } from "@mistral-sae/model";
import { openWeights } from "@mistral-sae/tensor";
import { loadTokenizer } from "@mistral-sae/tokenizer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeModel } from "../../src/inference/make-model.ts";
import { modelShapes, tensorShapes } from "../../src/inference/shapes.ts";

const shape = { nLayers: 2, dModel: 64, dMlp: 96, nHeads: 4, nKeyValueHeads: 2, dHead: 16, dVocab: 512, maxPositions: 128 };
let root = "";

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "bench-model-"));
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function digest(folder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const name of (await readdir(folder)).sort()) hash.update(name).update(await readFile(join(folder, name)));
  return hash.digest("hex");
}

describe("a generated model", () => {
  it("is the same for the same seed and another for another", async () => {
    for (const [name, seed] of Object.entries({ a: 3, b: 3, c: 4 })) await makeModel(join(root, name), shape, { seed });
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((name) => digest(join(root, name))));
    expect(a).toBe(b);
    expect(a).not.toBe(c);
  });

  it("has normal weights of deviation 0.02 and norms about 1", async () => {
    await makeModel(join(root, "normal"), shape);
    await using weights = await openWeights(join(root, "normal"));
    const moments = async (name: string): Promise<{ mean: number; deviation: number }> => {
      const values = await weights.readF32(name);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      return { mean, deviation: Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length) };
    };
    const matrix = await moments("lm_head.weight");
    expect(Math.abs(matrix.mean)).toBeLessThan(5e-4);
    expect(matrix.deviation).toBeCloseTo(0.02, 3);
    expect((await moments("model.norm.weight")).mean).toBeCloseTo(1, 1);
  });

  it("lies in shards with an index when a file would become too large, and runs on the engine", async () => {
    const folder = join(root, "sharded");
    await makeModel(folder, shape, { dtype: "BF16", shardBytes: 100_000 });
    const shards = (await readdir(folder)).filter((name) => name.endsWith(".safetensors"));
    expect(shards.length).toBeGreaterThan(1);
    const { weights } = await readModelSource(folder);
    expect(weights.storedDtypes).toEqual(["BF16"]);
    const engine = await openEngine({ modelDir: folder, threads: 1 });
    try {
      const { slots, tokens } = await engine.prefill([{ tokens: Uint32Array.of(1, 5, 6), sampling: greedy }]);
      expect(tokens[0]).toBeLessThan(shape.dVocab);
      await engine.free(slots);
    } finally {
      await engine.close();
    }
  });

  it("has a tokenizer that gives every text back, byte by byte, as ids of its vocabulary", async () => {
    await makeModel(join(root, "words"), shape);
    const tokenizer = await loadTokenizer(join(root, "words"));
    const text = "Łódź, 3 × 🦊\n";
    const { ids } = await tokenizer.encode(text);
    expect(ids[0]).toBe(1);
    expect(ids.length).toBe(1 + new TextEncoder().encode(text).length);
  });

  it("can have Mistral-7B's own sizes", () => {
    const parameters = tensorShapes(modelShapes["mistral-7b"]).reduce((sum, [, sizes]) => sum + sizes.reduce((product, size) => product * size, 1), 0);
    expect(parameters).toBe(7_248_023_552);
  });
});
