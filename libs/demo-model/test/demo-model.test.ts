import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { corpusDir, demoModelDir } from "../src/index.ts";

describe("the demo model", () => {
  it("ships every file that a Hugging Face folder needs", async () => {
    expect((await readdir(demoModelDir)).toSorted()).toEqual(["config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]);
  });

  it("ships the weights that its figures were taken with", async () => {
    const weights = await readFile(join(demoModelDir, "model.safetensors"));
    expect(createHash("sha256").update(weights).digest("hex")).toMatch(/^8a333b85/);
  });

  it("ships a corpus of its own", async () => {
    expect((await readdir(corpusDir)).every((name) => name.endsWith(".jsonl.zst"))).toBe(true);
  });
});
