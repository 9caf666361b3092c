import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { FolderSource } from "../../src/vectors/folder-source.ts";
import { readSentenceFolder } from "../../src/vectors/sentence-folder.ts";
import { SentenceModel } from "../../src/vectors/sentence-model.ts";
import { removeFolder, temporaryFolder } from "../fixtures/with-service.ts";

// Made by tools/check/python/sentence_embedding_golden.py with transformers and torch.
const FOLDER = fileURLToPath(new URL("../fixtures/sentence-model", import.meta.url));
const golden = JSON.parse(readFileSync(join(FOLDER, "golden.json"), "utf8")) as { text: string; pieces: number[][]; mean: number[]; cls: number[] }[];
const texts = golden.map(({ text }) => text);
const signal = new AbortController().signal;
let scratch: string;

beforeAll(() => {
  scratch = temporaryFolder();
});
afterAll(() => removeFolder(scratch));

/** The folder with some of its files changed. */
function changed(name: string, files: Readonly<Record<string, unknown>>): string {
  const folder = join(scratch, name);
  cpSync(FOLDER, folder, { recursive: true });
  for (const [file, value] of Object.entries(files)) writeFileSync(join(folder, file), JSON.stringify(value));
  return folder;
}

it("tokenises as transformers does, and cuts longer texts into pieces", async () => {
  const model = await SentenceModel.open(await readSentenceFolder(FOLDER), 1);
  for (const { text, pieces } of golden) expect(model.pieces(text), text).toEqual(pieces);
  await model.close();
});

it("gives torch's mean-pooled vectors from its thread, padded in batches or alone, and says how many texts were in pieces", async () => {
  const source = await FolderSource.open(FOLDER, 1);
  const { vectors, nInPieces } = await source.embed(texts, "text", signal);
  expect(nInPieces).toBe(golden.filter(({ pieces }) => pieces.length > 1).length);
  for (const [i, { mean }] of golden.entries()) {
    for (const [j, value] of mean.entries()) expect(vectors[i]?.[j]).toBeCloseTo(value, 5);
  }
  const alone = await source.embed(texts.slice(1, 2), "query", signal);
  for (const [j, value] of (golden[1]?.mean ?? []).entries()) expect(alone.vectors[0]?.[j]).toBeCloseTo(value, 5);
  await source.close();
});

it("gives torch's vectors of the first token where the pooling asks for it", async () => {
  const folder = changed("cls", { "1_Pooling/config.json": { pooling_mode_cls_token: true, pooling_mode_mean_tokens: false } });
  const model = await SentenceModel.open(await readSentenceFolder(folder), 1);
  const { vectors } = await model.embed(texts, "text");
  for (const [i, { cls }] of golden.entries()) for (const [j, value] of cls.entries()) expect(vectors[i]?.[j]).toBeCloseTo(value, 5);
  await model.close();
});

it("puts a folder's prompts before queries and texts, and names the source by all that decides the vectors", async () => {
  const plain = await readSentenceFolder(FOLDER);
  const prompted = await readSentenceFolder(changed("prompts", { "config_sentence_transformers.json": { prompts: { query: "kings ", passage: "" } } }));
  expect(prompted.digest).not.toBe(plain.digest);
  const model = await SentenceModel.open(prompted, 1);
  const [query] = (await model.embed(["and queens"], "query")).vectors;
  const [text] = (await model.embed(["kings and queens"], "text")).vectors;
  expect(query).toEqual(text);
  await model.close();
});

it.each([
  ["a pooling it does not know", { "1_Pooling/config.json": { pooling_mode_max_tokens: true } }, /pooling_mode.*max_tokens|1_Pooling/],
  ["a module it does not know", { "modules.json": [{ path: "", type: "sentence_transformers.models.CLIPModel" }] }, /modules\.json/],
  ["no length", { "sentence_bert_config.json": {}, "tokenizer_config.json": {} }, /sentence_bert_config\.json/],
])("refuses a folder with %s", async (name, files, message) => {
  await expect(readSentenceFolder(changed(name, files))).rejects.toThrow(message);
});

it("refuses a folder that is none, and a graph that is none", async () => {
  await expect(readSentenceFolder(scratch)).rejects.toMatchObject({ name: "InputError" });
  await expect(FolderSource.open(changed("damaged", { "onnx/model.onnx": "?" }), 1)).rejects.toThrow(/model\.onnx/);
});
