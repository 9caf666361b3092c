import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { type Feature, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { ExportedFiles } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { toyDocuments } from "./fixtures/toy-corpus.ts";
import { exportedFiles, startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY } from "./fixtures/toy-inference.ts";

type Row = Readonly<Record<string, unknown>>;

let toy: ToyIndex;
let files: ExportedFiles;

beforeAll(async () => {
  toy = await startToyIndex(toyDocuments(120), 32);
  const explanation = { name: `${TOY.sae}/features/3/explanations/a`, description: "words\0of a kind", explanationType: "summary" };
  await toy.service.index.putExplanations({ entries: [{ feature: `${TOY.sae}/features/3`, summary: explanation }] });
  files = await exported(join(toy.folder, "neuronpedia"));
});
afterAll(() => toy.close());

async function exported(uri: string): Promise<ExportedFiles> {
  return await exportedFiles(toy.service, (await toy.service.index.exportNeuronpedia({ index: toy.index, uri })).operation);
}

async function rowsOf(file: string): Promise<Row[]> {
  const bytes = await readFile(join(files.uri, file));
  const text = (file.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  return text.trimEnd().split("\n").map((line) => JSON.parse(line) as Row);
}

/** Numbers as f32, which JSON gives with no more digits than that takes. */
function f32(row: Row | undefined): Row {
  const round = (value: unknown): unknown => (typeof value === "number" ? Math.fround(value) : Array.isArray(value) ? value.map(round) : value);
  return Object.fromEntries(Object.entries(row ?? {}).map(([key, value]) => [key, round(value)]));
}

async function pageOf(index: number): Promise<Feature> {
  const { feature } = await toy.service.index.getFeature({ name: `${TOY.sae}/features/${index}`, view: FeatureView.FULL });
  if (feature === undefined) throw new Error("no feature came back");
  return feature;
}

describe("an export for Neuronpedia", () => {
  const at = "toy/0-small";

  it("lies in a folder of the model and the source, metadata beside the batches", () => {
    const metadata = ["release", "model", "sourceset", "source"].map((name) => `${at}/${name}.jsonl`);
    expect(files.fileNames).toEqual([...metadata, ...["features", "activations", "explanations"].map((kind) => `${at}/${kind}/batch-0.jsonl.gz`)]);
  });

  it("has one row a feature with every key on every row, dead ones included", async () => {
    const rows = await rowsOf(`${at}/features/batch-0.jsonl.gz`);
    expect(rows.map((row) => row["index"])).toEqual(Array.from({ length: TOY.dSae }, (_, feature) => String(feature)));
    expect(new Set(rows.map((row) => Object.keys(row).join())).size).toBe(1);
    expect(Object.keys(rows[0] ?? {})).toHaveLength(33);
    for (const feature of [0, 7, 95]) {
      const page = await pageOf(feature);
      expect(f32(rows[feature])).toMatchObject({
        modelId: "toy",
        layer: "0-small",
        hookName: page.hookName,
        maxActApprox: page.maxActivation,
        frac_nonzero: Math.fround(page.fracNonzero),
        pos_str: page.posLogits.slice(0, 10).map(({ strToken }) => strToken),
        neg_values: page.negLogits.slice(0, 10).map(({ logit }) => logit),
        topkCosSimIndices: page.nearest.map(({ featureIndex }) => featureIndex),
        freq_hist_data_bar_heights: page.linearHist?.counts.map(Number) ?? [],
      });
    }
  });

  it("has every example with dense values, the bin that it stands for and ids of its own", async () => {
    const rows = await rowsOf(`${at}/activations/batch-0.jsonl.gz`);
    expect(new Set(rows.map((row) => row["id"])).size).toBe(rows.length);
    expect(rows.every((row) => /^c[0-9a-z]{24}$/.test(String(row["id"])))).toBe(true);
    const page = await pageOf(7);
    const own = rows.filter((row) => row["index"] === "7");
    expect(own).toHaveLength(page.examples.length);
    for (const [ordinal, example] of page.examples.entries()) {
      const values = example.tokens!.strTokens.map((_, position) => example.values[example.positions.indexOf(position)] ?? 0);
      const top = ordinal < 20 && example.bin === 0 && example.binContains === 0;
      expect(f32(own[ordinal])).toMatchObject({ tokens: example.tokens!.strTokens, values, maxValue: example.maxActivation, qualifyingTokenIndex: example.qualifyingTokenIndex, dataSource: "corpora/toy", dataIndex: String(example.docId) });
      expect(own[ordinal]?.["binContains"]).toBeCloseTo(top ? -1 : example.binContains, 12);
      expect(values[Number(own[ordinal]?.["maxValueTokenIndex"])]).toBe(example.maxActivation);
    }
  });

  it("writes explanations, what its importer would change already changed", async () => {
    const [row] = await rowsOf(`${at}/explanations/batch-0.jsonl.gz`);
    expect(row).toMatchObject({ index: "3", description: "words of a kind", typeName: "summary", explanationModelName: null, authorId: "mistral-sae" });
  });

  it("is the same bytes a second time", async () => {
    const again = await exported(join(toy.folder, "again"));
    for (const file of files.fileNames) expect(await readFile(join(again.uri, file)), file).toEqual(await readFile(join(files.uri, file)));
  });
});
