import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { writeSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCache } from "../../src/exchange/delphi/read-cache.ts";
import { dashboardFolder, neuronpediaFolder } from "../../src/exchange/import/dashboard-folder.ts";
import { ReadMeter } from "../../src/exchange/import/peer-file.ts";
import { readScans } from "../../src/exchange/import/read-scans.ts";
import { scanFile } from "../../src/exchange/import/scan-file.ts";
import { toyDocuments } from "../fixtures/toy-corpus.ts";
import { resultOf, startToyIndex, type ToyIndex } from "../fixtures/toy-index.ts";
import { TOY } from "../fixtures/toy-inference.ts";
import { removeFolder, temporaryFolder } from "../fixtures/with-service.ts";

const given = fileURLToPath(new URL("../fixtures/exchange", import.meta.url));
const folder = temporaryFolder();
let copies = 0;
afterAll(() => removeFolder(folder));

/** A copy of a fixture, damaged. */
function copyOf(name: string, damage: (copy: string) => void): string {
  const copy = join(folder, String(copies++));
  cpSync(join(given, name), copy, { recursive: true });
  damage(copy);
  return copy;
}

async function check(uri: string, format: typeof neuronpediaFolder): Promise<void> {
  const { files } = await format(uri);
  readScans(uri, TOY.dSae, files, await Promise.all(files.map(async (file) => await scanFile(file, TOY.dSae, new ReadMeter()))));
}

/** Rewrites the lines of a batch. */
function relined(kind: string, batch: number, change: (lines: string[]) => string[]) {
  return (copy: string) => {
    const path = join(copy, `toy/0-res-toy/${kind}/batch-${batch}.jsonl.gz`);
    const lines = gunzipSync(readFileSync(path)).toString("utf8").trimEnd().split("\n");
    writeFileSync(path, gzipSync(`${change(lines).join("\n")}\n`));
  };
}

const replaced = (from: string | RegExp, to: string) => (lines: string[]) => lines.map((line, i) => (i === 1 ? line.replace(from, to) : line));

describe("a damaged Neuronpedia folder", () => {
  it.each<[string, (copy: string) => void, string]>([
    ["gzip that is cut short", (copy) => truncateSync(join(copy, "toy/0-res-toy/activations/batch-0.jsonl.gz"), 900), "batch-0.jsonl.gz cannot be unpacked: the file is cut short"],
    ["NaN", relined("activations", 0, replaced(/"maxValue": [\d.]+/, '"maxValue": NaN')), "line 2, maxValue is not finite"],
    ["null among values", relined("activations", 0, replaced('"values": [0.0', '"values": [null')), "line 2, values[0] is not a finite number"],
    ["fewer values than tokens", relined("activations", 0, replaced(/"values": \[[\d.e-]+, /, '"values": [')), "line 2, tokens and values differ in length"],
    ["a field that is none", relined("features", 0, replaced('"modelId"', '"colour": 1, "modelId"')), "line 2, colour is no field of this format"],
    ["a feature twice", relined("features", 0, (lines) => [...lines, lines[0] ?? ""]), "line 5 describes feature 0 a second time"],
    ["a feature in two batches", relined("features", 1, (lines) => [...lines, (lines[0] ?? "").replace('"index": 20', '"index": 0')]), "describes feature 0, and so does"],
    ["a feature beyond the SAE", relined("features", 0, replaced('"index": "5"', '"index": "96"')), "line 2, index is out of range"],
    ["a histogram of two lengths", relined("features", 0, replaced(/"freq_hist_data_bar_values": \[[\d.]+, /, '"freq_hist_data_bar_values": [')), "line 2, freq_hist_data_bar_heights and freq_hist_data_bar_values differ in length"],
    ["two sources", relined("features", 1, replaced('"layer": "0-res-toy"', '"layer": "1-res-toy"')), "line 2 is of toy/1-res-toy"],
    ["examples of nobody", relined("activations", 0, replaced('"index": "0"', '"index": "90"')), "holds activations of feature 90, which no file describes"],
    ["half a line", relined("features", 0, (lines) => lines.map((line, i) => (i === 1 ? line.slice(0, 400) : line))), "line 2"],
    ["no features beside the examples", (copy) => rmSync(join(copy, "toy/0-res-toy/features/batch-1.jsonl.gz")), "activations/batch-1 and no features/batch-1"],
    ["a batch that is missing", (copy) => rmSync(join(copy, "toy/0-res-toy/features"), { recursive: true }), "holds no Neuronpedia export"],
    ["no UTF-8", (copy) => writeFileSync(join(copy, "toy/0-res-toy/features/batch-0.jsonl.gz"), gzipSync(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]))), "line 1 is no UTF-8"],
  ])("is refused: %s", async (_, damage, message) => {
    await expect(check(copyOf("neuronpedia", damage), neuronpediaFolder)).rejects.toThrow(message);
  });
});

describe("a damaged folder of SAEDashboard", () => {
  const rewritten = (change: (text: string) => string) => (copy: string) => writeFileSync(join(copy, "batch-1.json"), change(readFileSync(join(copy, "batch-1.json"), "utf8")));

  it.each<[string, (copy: string) => void, string]>([
    ["a file that is cut short", (copy) => truncateSync(join(copy, "batch-1.json"), 9_000), "it ends within features[1]"],
    ["NaN", rewritten((text) => text.replace(/"bin_max": [\d.]+/, '"bin_max": NaN')), "features[0], bin_max is not finite"],
    ["fewer values than tokens", rewritten((text) => text.replace(/"values": \[[\d.]+, /, '"values": [')), "features[0].activations[0], tokens and values differ in length"],
    ["another source", rewritten((text) => text.replace('"sae_set": "small"', '"sae_set": "other"')), "is of another source"],
    ["a foreign field", rewritten((text) => text.replace('"sae_set"', '"colour": 1, "sae_set"')), "colour is no field of this format"],
    ["no batch", (copy) => ["batch-0.json", "batch-1.json"].forEach((name) => rmSync(join(copy, name))), "has no batch"],
  ])("is refused: %s", async (_, damage, message) => {
    await expect(check(copyOf("saedashboard", damage), dashboardFolder)).rejects.toThrow(message);
  });
});

describe("a damaged cache of Delphi", () => {
  it.each<[string, (copy: string) => void, string]>([
    ["a split that is missing", (copy) => rmSync(join(copy, "layers.0/19_37.safetensors")), "the files do not follow one another"],
    ["the last split missing", (copy) => rmSync(join(copy, "layers.0/76_95.safetensors")), "files of latents from 76 are missing"],
    ["a file that is cut short", (copy) => truncateSync(join(copy, "layers.0/0_18.safetensors"), 2_000), "0_18.safetensors"],
    ["another context", (copy) => writeFileSync(join(copy, "layers.0/config.json"), '{"cache_ctx_len": 32}'), "configuration and tokens differ"],
    ["no configuration", (copy) => rmSync(join(copy, "layers.0/config.json")), "has no configuration"],
  ])("is refused: %s", async (_, damage, message) => {
    await expect(readCache(copyOf("delphi", damage), "layers.0", TOY.dSae)).rejects.toThrow(message);
  });
});

describe("an import that fails", () => {
  let toy: ToyIndex;
  beforeAll(async () => {
    toy = await startToyIndex(toyDocuments(4), 32);
  });
  afterAll(() => toy.close());

  it("leaves no index, no corpus and no row behind, whenever the files are found to be damaged", async () => {
    const { service } = toy;
    const outside = copyOf("delphi", () => undefined);
    const tokens = new BigInt64Array(24 * 16).fill(9n);
    await writeSafetensors(join(outside, "layers.0/76_95.safetensors"), {
      locations: { dtype: "U16", shape: [1, 3], data: new Uint8Array(Uint16Array.of(99, 0, 0).buffer) },
      activations: { dtype: "F16", shape: [1], data: new Uint8Array(Float16Array.of(1).buffer) },
      tokens: { dtype: "I64", shape: [24, 16], data: new Uint8Array(tokens.buffer) },
    });
    const damaged = copyOf("neuronpedia", relined("activations", 1, replaced(/"values": \[[\d.e-]+, /, '"values": [')));
    for (const [call, uri, message] of [["importDelphiCache", outside, /locations\[0\] is outside|has other tokens than/], ["importNeuronpedia", damaged, /batch-1.jsonl.gz: line 2, tokens and values differ/]] as const) {
      const { operation } = await service.index[call]({ uri, sae: TOY.sae });
      const result = await resultOf(service, operation);
      expect(result.case === "error" ? result.value.message : "").toMatch(message);
    }
    expect((await service.index.listIndexes({})).indexes.map(({ name }) => name)).toEqual([toy.index]);
    expect((await service.index.listCorpora({})).corpora.map(({ name }) => name)).toEqual(["corpora/toy"]);
    const { owners } = await service.index.getStorage({});
    expect(owners.map(({ name }) => name).toSorted((a, b) => a.localeCompare(b))).toEqual(["corpora/toy", toy.index]);
    await expect(service.index.importNeuronpedia({ uri: damaged, sae: "models/toy/saes/none" })).rejects.toThrow("models/toy/saes/none");
    await expect(service.index.importNeuronpedia({ uri: "here", sae: TOY.sae })).rejects.toThrow("absolute path");
  });
});
