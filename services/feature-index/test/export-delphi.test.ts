import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExportedFiles } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modulePath } from "../src/exchange/delphi/module-path.ts";
import { splitBounds } from "../src/exchange/delphi/splits.ts";
import { referenceFirings, referenceTokens } from "./fixtures/reference.ts";
import { toyDocuments } from "./fixtures/toy-corpus.ts";
import { exportedFiles, startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY } from "./fixtures/toy-inference.ts";

const CONTEXT = 32;
const documents = toyDocuments(120);
const tokens = referenceTokens(documents, CONTEXT);
let toy: ToyIndex;
let files: ExportedFiles;

beforeAll(async () => {
  toy = await startToyIndex(documents, CONTEXT);
  files = await exportedFiles(toy.service, (await toy.service.index.exportDelphiCache({ index: toy.index, uri: join(toy.folder, "delphi") })).operation);
});
afterAll(() => toy.close());

describe("a cache for Delphi", () => {
  const names = ["layers.0/0_18", "layers.0/19_37", "layers.0/38_56", "layers.0/57_75", "layers.0/76_95"].map((name) => `${name}.safetensors`);

  it("is split evenly over the features, bounds inclusive, with its configuration beside", async () => {
    expect(files.fileNames).toEqual([...names, "layers.0/config.json"]);
    const config = JSON.parse(await readFile(join(files.uri, "layers.0/config.json"), "utf8")) as Record<string, unknown>;
    expect(config).toMatchObject({ model_name: "toy", n_splits: 5, cache_ctx_len: CONTEXT, n_tokens: tokens.length });
  });

  it("holds every activation at its window and position, and all tokens in each file", async () => {
    const firings = referenceFirings(tokens);
    let total = 0;
    for (const name of names) {
      const [start = 0, last = 0] = /(\d+)_(\d+)/.exec(name)!.slice(1).map(Number);
      await using file = await openSafetensors(join(files.uri, name));
      const locations = new Uint16Array((await file.read("locations")).data.slice().buffer);
      const activations = new Float16Array((await file.read("activations")).data.slice().buffer);
      const wanted = Array.from({ length: last - start + 1 }, (_, at) => (firings.get(start + at) ?? []).map(({ sequence, token, value }) => [sequence, token, at, value])).flat();
      expect(Array.from(activations, (value, at) => [...locations.subarray(at * 3, at * 3 + 3), value])).toEqual(wanted);
      total += wanted.length;
      const stored = new Uint32Array((await file.read("tokens")).data.slice().buffer);
      const ids = new Uint32Array(stored.length);
      for (const { sequence, token, id } of tokens) ids[sequence * CONTEXT + token] = id;
      expect(stored).toEqual(ids);
    }
    expect(total).toBe([...firings.values()].reduce((sum, { length }) => sum + length, 0));
  });

  it("names hooks by the module whose output they are, and refuses those of none", () => {
    expect(["blocks.16.hook_resid_post", "blocks.16.hook_resid_pre", "blocks.3.hook_mlp_out", "hook_embed"].map(modulePath)).toEqual(["layers.16", "layers.15", "layers.3.mlp", "embed_tokens"]);
    expect(() => modulePath("blocks.3.attn.hook_z")).toThrow("the output of no module");
  });

  it("has a file for each feature where there are fewer features than files", () => {
    expect(splitBounds(3)).toEqual([{ start: 0, end: 1 }, { start: 1, end: 2 }, { start: 2, end: 3 }]);
    expect(splitBounds(131_072).map(({ end }) => end)).toEqual([26_214, 52_428, 78_643, 104_857, 131_072]);
    expect(TOY.dSae).toBe(96);
  });
});
