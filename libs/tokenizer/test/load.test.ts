import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../src/index.ts";

const folder = () => mkdtemp(join(tmpdir(), "tokenizer-"));

const minimal = {
  version: "1.0",
  truncation: { direction: "Right", max_length: 2, strategy: "LongestFirst", stride: 0 },
  padding: null,
  added_tokens: [{ id: 0, content: "<s>", single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: "BPE", vocab: { "<s>": 0, a: 1, b: 2, c: 3 }, merges: [] },
};

const template = (token: string) => ({
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [],
  special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
});

describe("loading a tokenizer", () => {
  it("names the folder that has none", async () => {
    const dir = await folder();
    await expect(loadTokenizer(dir)).rejects.toThrow(`${dir}: holds no tokenizer (tokenizer.json, tekken.json, tokenizer.model.v1 to .v7, tokenizer.model)`);
  });

  it.each([
    ["no JSON", "{", "is not JSON"],
    ["JSON of another kind", "[1, 2]", "got a list of 2, wanted an object"],
    ["an unknown model", JSON.stringify({ ...minimal, model: { type: "Telepathy" } }), "field model.type; got Telepathy, wanted BPE"],
  ])("names the file that is %s", async (_, text, message) => {
    const dir = await folder();
    await writeFile(join(dir, "tokenizer.json"), text);
    const loading = loadTokenizer(dir);
    await expect(loading).rejects.toThrow(`${dir}/tokenizer.json: is not`);
    await expect(loading).rejects.toThrow(message);
  });

  it("refuses a decoder it cannot follow byte by byte", async () => {
    const dir = await folder();
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify({ ...minimal, decoder: { type: "WordPiece", prefix: "##", cleanup: true } }));
    await expect(loadTokenizer(dir)).rejects.toThrow(/field decoder; got WordPiece, wanted ByteLevel/);
  });

  it.each([
    ["an empty pattern", { normalizer: { type: "Replace", pattern: { String: "" }, content: "_" } }, /normalizer\.pattern\.String/],
    ["an empty prefix", { normalizer: { type: "Sequence", normalizers: [{ type: "Prepend", prepend: "" }] } }, /normalizer\.normalizers\.0\.prepend/],
    ["an unknown token that is missing", { model: { ...minimal.model, unk_token: "?" } }, /model\.unk_token; got \?, wanted a token/],
    ["a template with an unknown token", { post_processor: template("</s>") }, /post_processor\.special_tokens.*got <\/s>/],
    ["a template without the text", { post_processor: { ...template("<s>"), single: [] } }, /post_processor\.single.*got the text 0 times/],
    ["a template of another kind", { post_processor: { type: "BertProcessing", sep: ["b", 2], cls: ["a", 1] } }, /post_processor.*got BertProcessing/],
  ])("refuses %s, which cannot be followed", async (_, change, message) => {
    const dir = await folder();
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify({ ...minimal, ...change }));
    await expect(loadTokenizer(dir)).rejects.toThrow(message);
  });

  it("puts around a text what the template says", async () => {
    const dir = await folder();
    const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "c", type_id: 0 } }];
    const post_processor = { ...template("<s>"), single, special_tokens: { "<s>": { id: "<s>", ids: [0] }, c: { id: "c", ids: [3] } } };
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify({ ...minimal, post_processor }));
    await writeFile(join(dir, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>" }));
    const tokenizer = await loadTokenizer(dir);
    expect([...(await tokenizer.encode("ab")).ids]).toEqual([0, 1, 2, 3]);
    expect([...(await tokenizer.encode("ab", { prependBos: false })).ids]).toEqual([1, 2, 3]);
  });

  it("never lets the file truncate a text", async () => {
    const dir = await folder();
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify(minimal));
    const tokenizer = await loadTokenizer(dir);
    expect([...(await tokenizer.encode("abcab")).ids]).toEqual([1, 2, 3, 1, 2]);
  });

  it("adds the BOS that only the configuration asks for", async () => {
    const dir = await folder();
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify(minimal));
    await writeFile(join(dir, "tokenizer_config.json"), JSON.stringify({ bos_token: { content: "<s>" }, add_bos_token: true }));
    const tokenizer = await loadTokenizer(dir);
    expect([...(await tokenizer.encode("ab")).ids]).toEqual([0, 1, 2]);
    expect([...(await tokenizer.encode("ab", { prependBos: false })).ids]).toEqual([1, 2]);
  });

  it("refuses to prepend a BOS that does not exist", async () => {
    const dir = await folder();
    await writeFile(join(dir, "tokenizer.json"), JSON.stringify(minimal));
    const tokenizer = await loadTokenizer(dir);
    await expect(tokenizer.encode("ab", { prependBos: true })).rejects.toThrow(/no BOS token/);
  });
});
