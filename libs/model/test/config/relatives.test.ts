import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, describe, expect, it } from "vitest";
import { openEngine } from "../../src/index.ts";
import { relativeDifference } from "../support/compare.ts";
import { wrappings, writeHashedModel } from "../support/hashed-model.ts";

const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
/** Written by tools/check/python/relatives_golden.py. */
const configs = JSON.parse(await readFile(fixture("relatives.json"), "utf8")) as Readonly<Record<string, Record<string, unknown>>>;
const golden = await openSafetensors(fixture("relatives.safetensors"));
const positions = JSON.parse(golden.metadata["positions"] ?? "[]") as number[];
const tokens = Uint32Array.from({ length: 100 }, (_, i) => (i * 37 + 1) % 96);

async function difference(modelDir: string, name: string): Promise<number> {
  const engine = await openEngine({ modelDir, threads: 1 });
  try {
    const { nCtx } = engine.info;
    const { logits } = await engine.logits({ tokens: tokens.slice(0, nCtx) }, { positions: positions.filter((position) => position < nCtx) });
    return relativeDifference(logits, await golden.readF32(name));
  } finally {
    await engine.close();
  }
}

const wrapped = Object.entries(configs).filter(([, config]) => "text_config" in config);
const plain = Object.entries(configs).filter(([name, config]) => !("text_config" in config) && name !== "consolidated");

describe("models whose layers are Mistral's, against transformers", () => {
  afterAll(async () => {
    await golden.close();
  });

  it.each(plain)("%s has the same logits", async (name, config) => {
    await using model = await writeHashedModel(config);
    expect(await difference(model.modelDir, name)).toBeLessThan(1e-5);
  });

  it.each(wrapped.flatMap(([name, config]) => Object.keys(wrappings).map((wrapping) => [name, wrapping, config] as const)))("the language part of %s has the same logits, weights %s", async (name, wrapping, config) => {
    await using model = await writeHashedModel(config, wrappings[wrapping]);
    expect(await difference(model.modelDir, name)).toBeLessThan(1e-5);
  });

  it("a model that also takes images says that they are refused", async () => {
    await using model = await writeHashedModel(wrapped[0]![1]);
    const engine = await openEngine({ modelDir: model.modelDir, threads: 1 });
    expect(engine.info.refusedInputs).toEqual(["image"]);
    await engine.close();
  });

  it("Mistral's own layout, whose rotary pairs lie side by side, has the logits of Mistral's own program", async () => {
    await using model = await writeHashedModel(configs["consolidated"]!);
    expect(await difference(model.modelDir, "consolidated")).toBeLessThan(1e-5);
  });
});
