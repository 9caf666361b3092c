import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWeights, tensorOf, writeSafetensors } from "../../src/index.ts";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tensor-weights-"));
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

async function sharded(name: string, weightMap: unknown): Promise<string> {
  const folder = join(root, name);
  await writeSafetensors(join(folder, "model-00001-of-00002.safetensors"), { a: tensorOf(Float32Array.of(1, 2)), c: tensorOf(Float32Array.of(5)) });
  await writeSafetensors(join(folder, "model-00002-of-00002.safetensors"), { b: tensorOf(Float32Array.of(3, 4)) });
  await writeFile(join(folder, "model.safetensors.index.json"), typeof weightMap === "string" ? weightMap : JSON.stringify({ metadata: { total_size: 20 }, weight_map: weightMap }));
  return folder;
}

describe("the weights of a folder", () => {
  test("come from one file", async () => {
    await writeSafetensors(join(root, "single/model.safetensors"), { a: tensorOf(Float32Array.of(1, 2)) });
    await using weights = await openWeights(join(root, "single"));
    expect(await weights.readF32("a")).toEqual(Float32Array.of(1, 2));
    expect(weights.files).toEqual([join(root, "single/model.safetensors")]);
  });

  test("come from the shards that the index names", async () => {
    const folder = await sharded("shards", { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors", c: "model-00001-of-00002.safetensors" });
    await using weights = await openWeights(folder);
    expect([...weights.tensors.keys()]).toEqual(["a", "b", "c"]);
    expect(weights.tensors.get("b")?.file).toBe(join(folder, "model-00002-of-00002.safetensors"));
    expect(await weights.readF32("b")).toEqual(Float32Array.of(3, 4));
    await expect(weights.read("d")).rejects.toThrow(/no tensor "d"/);
  });

  test("are refused when the folder has none, or the index is wrong", async () => {
    await expect(openWeights(root)).rejects.toThrow(/wanted model\.safetensors or model\.safetensors\.index\.json/);
    const cases: [string, unknown, RegExp][] = [
      ["no-map", "{}", /no weight_map.*got null/],
      ["not-json", "{", /not JSON/],
      ["twice", '{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}', /names "a" twice/],
      ["outside", { a: "../x.safetensors" }, /weight_map\.a; got \.\.\/x\.safetensors/],
      ["no-shard", { a: "model-00003-of-00002.safetensors" }, /no such file/],
      ["wrong-shard", { b: "model-00001-of-00002.safetensors" }, /weight_map\.b; got .*wanted a shard that holds it/],
    ];
    for (const [name, map, message] of cases) await expect(openWeights(await sharded(name, map))).rejects.toThrow(message);
  });
});
