import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { demoModelDir } from "@mistral-sae/demo-model";
import { beforeAll, describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../src/index.ts";

interface Case {
  readonly text: string;
  readonly ids: number[];
  readonly decoded: string;
  readonly decoded_raw: string;
}

const fixture = (name: string) => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url));
const golden = JSON.parse(readFileSync(fixture("golden.json"), "utf8")) as Record<"byte_level" | "metaspace", Case[]>;

describe.each([
  ["byte_level", demoModelDir],
  ["metaspace", fixture("metaspace")],
] as const)("a %s tokenizer", (kind, folder) => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await loadTokenizer(folder);
  });

  it("encodes each golden text to the ids of transformers, except for a second BOS", async () => {
    const encoded = await tokenizer.encodeBatch(golden[kind].map(({ text }) => text));
    expect(encoded.map(({ ids }) => [...ids])).toEqual(golden[kind].map(({ text, ids }) => (text.startsWith("<s>") ? ids.slice(1) : ids)));
  });

  it("decodes the ids back, with and without special tokens", () => {
    for (const { ids, decoded, decoded_raw } of golden[kind]) {
      expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(decoded);
      expect(tokenizer.decode(ids)).toBe(decoded_raw);
    }
  });

  it("streams deltas that join to the whole text, in whole characters only", () => {
    for (const { ids, decoded, decoded_raw } of golden[kind]) {
      for (const [skipSpecial, text] of [
        [true, decoded],
        [false, decoded_raw],
      ] as const) {
        const stream = tokenizer.detokenizer({ skipSpecial });
        const deltas = ids.map((id) => stream.push(id));
        expect(deltas.join("")).not.toContain("\uFFFD");
        expect(deltas.join("") + stream.end()).toBe(text);
      }
    }
  });

  it("keeps the space that opens a continuation", async () => {
    const whole = "The big dog ran to the boat ☃.";
    const { ids } = await tokenizer.encode(whole);
    const prompt = ids.subarray(0, 4);
    const rest = ids.subarray(4);
    const stream = tokenizer.detokenizer({ continuation: true, skipSpecial: true });
    const streamed = [...rest].map((id) => stream.push(id)).join("") + stream.end();
    expect(tokenizer.decode(prompt, { skipSpecial: true }) + streamed).toBe(whole);
    expect(tokenizer.decode(rest, { continuation: true, skipSpecial: true })).toBe(streamed);
  });

  it("adds BOS once, and leaves it out when told so", async () => {
    const text = "Hello world";
    const [usual, with_, without] = await Promise.all([
      tokenizer.encode(text),
      tokenizer.encode(text, { prependBos: true }),
      tokenizer.encode(text, { prependBos: false }),
    ]);
    expect([...with_.ids]).toEqual([...usual.ids]);
    expect([...without.ids]).toEqual([...usual.ids].slice(1));
    expect(usual.ids[0]).toBe(tokenizer.bosId);
    const spelled = `<s>${text}`;
    expect([...(await tokenizer.encode(spelled)).ids]).toEqual([...usual.ids]);
    expect([...(await tokenizer.encode(spelled, { prependBos: true })).ids]).toEqual([...usual.ids]);
    expect([...(await tokenizer.encode(spelled, { prependBos: false })).ids]).toEqual([...usual.ids]);
  });

  it("marks special tokens bit by bit", () => {
    const { isSpecial } = tokenizer.tokens(Uint32Array.of(1, 425, 378, 3, 500, 501, 502, 503, 504, 4));
    expect([...isSpecial]).toEqual([0b0000_1001, 0b10]);
  });

  it("shows every token of a text, and parts of characters as bytes", async () => {
    const { ids } = await tokenizer.encode("a ☃\n");
    const shown = tokenizer.strTokens(ids);
    expect(shown[0]).toBe("<s>");
    expect(shown.join("")).toMatch(/^<s> ?a <0xE2><0x98><0x83>\n$/);
  });

  it("keeps the order of a batch larger than a group", async () => {
    const texts = Array.from({ length: 400 }, (_, i) => `${"story ".repeat(200)}${i}`);
    const encoded = await tokenizer.encodeBatch(texts, { prependBos: false });
    expect(encoded.map(({ ids }) => tokenizer.decode(ids))).toEqual(texts);
  });
});

describe("a tokenizer", () => {
  it("stops a batch when its signal aborts", async () => {
    const tokenizer = await loadTokenizer(demoModelDir);
    await expect(tokenizer.encodeBatch(["a"], { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
  });

  it("ends an unfinished character with U+FFFD", async () => {
    const tokenizer = await loadTokenizer(demoModelDir);
    const { ids } = await tokenizer.encode("☃", { prependBos: false });
    const stream = tokenizer.detokenizer();
    expect(stream.push(ids[0] ?? 0)).toBe("");
    expect(stream.end()).toBe("\uFFFD");
    expect(tokenizer.decode(ids.subarray(0, 1))).toBe("\uFFFD");
  });
});
