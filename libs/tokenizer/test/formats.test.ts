import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../src/index.ts";
import { fixture, formatGolden } from "./fixtures.ts";

describe.each(Object.keys(formatGolden))("a tokenizer of %s", (name) => {
  const golden = formatGolden[name]!;
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(fixture(name));
  });

  it("encodes each text to the ids of Mistral's own tokenizer", async () => {
    const encoded = await tokenizer.encodeBatch(
      golden.texts.map(({ text }) => text),
      { prependBos: false },
    );
    expect(encoded.map(({ ids }) => [...ids])).toEqual(golden.texts.map(({ ids }) => ids));
  });

  it("decodes them back, at once and one by one", () => {
    for (const { ids, decoded } of golden.texts) {
      expect(tokenizer.decode(ids)).toBe(decoded);
      const stream = tokenizer.detokenizer();
      expect(ids.map((id) => stream.push(id)).join("") + stream.end()).toBe(decoded);
    }
  });

  it("has the vocabulary's size, and BOS before a text by itself", async () => {
    expect(tokenizer.vocabulary.size).toBe(golden.size);
    const { ids } = await tokenizer.encode("a");
    expect(ids[0]).toBe(tokenizer.bosId);
    expect(tokenizer.strTokens(ids.subarray(0, 1))).toEqual(["<s>"]);
  });

  it("tokenises conversations as mistral-common does, and refuses what it refuses", async () => {
    for (const { messages, ids } of golden.conversations) {
      const made = await tokenizer.chat(messages).then((chat) => [...chat.ids], (error: unknown) => String(error).includes("messages: do not fit") ? null : error);
      expect(made).toEqual(ids);
    }
  });

  it("tells which positions of a conversation each role wrote", async () => {
    const { ids, spans } = await tokenizer.chat([
      { role: "system", content: "Be brief." },
      { role: "user", content: "🐟 Why [INST]?" },
      { role: "assistant", content: "Because." },
      { role: "user", content: "Thanks!" },
    ]);
    const written = spans.map(({ role, start, end }) => [role, tokenizer.decode(ids.subarray(start, end)).trim()]);
    const system = ["system", "Be brief."];
    const [first, ...rest] = [["user", "🐟 Why [INST]?"], ["assistant", "Because."], ["user", "Thanks!"]];
    const opensLast = name.endsWith("v2") || name.endsWith("-v3");
    expect(written).toEqual(opensLast ? [first, rest[0], system, rest[1]] : [system, first, ...rest]);
  });

  it("encodes a short text, on the calling thread, as it does many on its own", async () => {
    for (const { text, ids } of golden.texts) expect([...(await tokenizer.encode(text, { prependBos: false })).ids]).toEqual(ids);
  });
});

describe("a folder with several tokenizers", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("is read by the order of the documentation", async () => {
    const sizes: number[] = [];
    for (const [from, to] of [
      ["sentencepiece-v1/tokenizer.model.v1", "tokenizer.model"],
      ["sentencepiece-v3/tokenizer.model.v3", "tokenizer.model.v3"],
      ["tekken-v3/tekken.json", "tekken.json"],
      ["metaspace/tokenizer.json", "tokenizer.json"],
    ] as const) {
      await copyFile(fixture(from), join(folder, to));
      sizes.push((await loadTokenizer(folder)).vocabulary.size);
    }
    const json = (await loadTokenizer(fixture("metaspace"))).vocabulary.size;
    expect(sizes).toEqual([formatGolden["sentencepiece-v1"]?.size, formatGolden["sentencepiece-v3"]?.size, formatGolden["tekken-v3"]?.size, json]);
  });
});
