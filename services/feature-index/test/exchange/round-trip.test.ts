import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { ActivationGroup, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { FeatureIndex } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { openSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wholeNumbers } from "../../src/exchange/delphi/read-cache.ts";
import { exampleRow, featureRow } from "../../src/exchange/neuronpedia/rows.ts";
import { toyDocuments } from "../fixtures/toy-corpus.ts";
import { exportedFiles, startToyIndex, type ToyIndex } from "../fixtures/toy-index.ts";
import { TOY } from "../fixtures/toy-inference.ts";
import { finished } from "../fixtures/with-service.ts";

type Row = Readonly<Record<string, unknown>>;

const given = fileURLToPath(new URL("../fixtures/exchange", import.meta.url));
let toy: ToyIndex;

beforeAll(async () => {
  toy = await startToyIndex(toyDocuments(14), 24);
  const explanation = { name: `${TOY.sae}/features/3/explanations/a`, description: "words of a kind", explanationType: "summary" };
  await toy.service.index.putExplanations({ entries: [{ feature: `${TOY.sae}/features/3`, summary: explanation }] });
});
afterAll(() => toy.close());

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => a.localeCompare(b);

/** Every line of a folder's files by kind of file, ordered by what is in it. */
function linesOf(folder: string): Readonly<Record<string, readonly string[]>> {
  const lines: Record<string, string[]> = {};
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    if (!/\.jsonl(\.gz)?$/.test(name)) continue;
    const bytes = readFileSync(join(folder, name));
    const rows = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8").trimEnd().split("\n").map((line) => JSON.parse(line) as Row);
    (lines[name.replace(/batch-\d+/, "batch")] ??= []).push(...rows.map((row) => JSON.stringify(Object.fromEntries(Object.entries(row).sort(byName)))));
  }
  return Object.fromEntries(Object.entries(lines).sort(byName).map(([name, rows]) => [name, rows.sort()]));
}

/** The batches of SAEDashboard as one, features by number. */
function dashboardOf(folder: string): Row {
  const batches = readdirSync(folder).filter((name) => /^batch-\d+\.json$/.test(name)).map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as Row & { features: Row[] });
  const features = batches.flatMap((batch) => batch.features).sort((a, b) => Number(a["feature_index"]) - Number(b["feature_index"]));
  return { ...batches[0], features };
}

async function exportTo(name: string, index: string, format: "exportNeuronpedia" | "exportSaeDashboard" | "exportDelphiCache"): Promise<string> {
  return (await exportedFiles(toy.service, (await toy.service.index[format]({ index, uri: join(toy.folder, name) })).operation)).uri;
}

async function imported(uri: string, format: "importNeuronpedia" | "importSaeDashboard" | "importDelphiCache"): Promise<FeatureIndex> {
  return await finished(toy.service, (await toy.service.index[format]({ uri, sae: TOY.sae })).operation);
}

async function pageOf(index: FeatureIndex, feature: number) {
  const { feature: page } = await toy.service.index.getFeature({ name: `${TOY.sae}/features/${feature}`, corpus: index.corpus, view: FeatureView.FULL });
  if (page === undefined) throw new Error("no feature came back");
  return page;
}

describe("Neuronpedia's batches", () => {
  let index: FeatureIndex;

  beforeAll(async () => {
    index = await imported(join(given, "neuronpedia"), "importNeuronpedia");
  });

  it("come back with every field of every row", async () => {
    const folder = await exportTo("np-again", index.name, "exportNeuronpedia");
    expect(linesOf(folder)).toEqual(linesOf(join(given, "neuronpedia")));
  });

  it("make pages of given statistics, histograms and examples, which say what is not known", async () => {
    const row = linesOf(join(given, "neuronpedia"))["toy/0-res-toy/features/batch.jsonl.gz"]?.map((line) => JSON.parse(line) as Row).find((one) => Number(one["index"]) === 15);
    const page = await pageOf(index, 15);
    expect(page).toMatchObject({ fracNonzero: 0, nFirings: 0n, dead: false, hookName: "blocks.0.hook_resid_post" });
    expect(page.unknownFields).toEqual(expect.arrayContaining(["n_firings", "mean_activation", "frac_nonzero"]));
    expect(page.maxActivation).toBe(Math.fround(row?.["maxActApprox"] as number));
    expect(page.posLogits.map(({ strToken }) => strToken)).toEqual(row?.["pos_str"]);
    expect(page.linearHist?.counts.map(Number)).toEqual(row?.["freq_hist_data_bar_heights"]);
    expect(page.nearest.map(({ featureIndex }) => featureIndex)).toEqual(row?.["topkCosSimIndices"]);
    expect(page.examples.map(({ group, bin }) => [group, bin])).toEqual([[ActivationGroup.TOP, 0], [ActivationGroup.TOP, 0], [ActivationGroup.QUANTILE_VALUE, 0], [ActivationGroup.QUANTILE_VALUE, 1]]);
    expect(page.examples[2]).toMatchObject({ binMin: 2.5, binMax: 5.5, binContains: 0.125, dataSource: "monology/pile-uncopyrighted" });
    expect(page.explanations[0]).toMatchObject({ explanationType: "oai_token-act-pair", explanationModel: "gpt-4o-mini" });
    expect((await pageOf(index, 10)).unknownFields).not.toContain("frac_nonzero");
  });

  it("are listed, searched, counted by SQL and stored like any index, and refuse what examples do not tell", async () => {
    const { service } = toy;
    const parent = TOY.sae;
    const { features, totalSize } = await service.index.listFeatures({ parent, corpus: index.corpus, filter: "NOT dead AND max_activation > 0", orderBy: "max_activation desc" });
    expect([features.length, totalSize]).toEqual([8, 8n]);
    expect((await service.index.listFeatures({ parent, corpus: index.corpus, filter: "n_firings >= 0" })).totalSize).toBe(0n);
    const [top] = (await pageOf(index, 10)).topTokens;
    const { hits } = await service.index.searchByToken({ parent, corpus: index.corpus, tokenId: top?.tokenId ?? 0 });
    expect(hits.map(({ feature }) => feature?.featureIndex)).toContain(10);
    const { activations } = await service.index.listActivations({ parent: `${parent}/features/10`, corpus: index.corpus, group: ActivationGroup.TOP, pageSize: 3 });
    expect(activations[0]?.maxActivation).toBe((await pageOf(index, 10)).examples.reduce((most, { maxActivation }) => Math.max(most, maxActivation), 0));
    let rows = "";
    for await (const { data } of service.index.query({ sql: `SELECT count() AS n FROM activations WHERE index_name = '${index.name}'` })) rows += Buffer.from(data).toString();
    expect(JSON.parse(rows)).toEqual({ n: Number(index.nActivations) });
    const name = `${parent}/features/10`;
    await expect(service.index.listCoActivations({ parent: name, corpus: index.corpus })).rejects.toThrow("holds examples of each feature and not all of its activations");
    await expect(service.index.listActivations({ parent: name, corpus: index.corpus, group: ActivationGroup.NON_ACTIVATING })).rejects.toThrow("where a feature does not fire");
    await expect(service.index.getHistogram({ name, corpus: index.corpus, nBins: 7 })).rejects.toThrow("one of 40 even bins");
    expect((await service.index.getHistogram({ name, corpus: index.corpus })).histogram?.counts).toHaveLength(40);
  });

  it("carry everything of our own index that they can", async () => {
    const first = await exportTo("np-own", toy.index, "exportNeuronpedia");
    const again = await exportTo("np-own-again", (await imported(first, "importNeuronpedia")).name, "exportNeuronpedia");
    // Explanations are the SAE's, so the second export has those of both.
    const explanations = "toy/0-small/explanations/batch.jsonl.gz";
    const { [explanations]: before = [], ...rows } = linesOf(first);
    const { [explanations]: after = [], ...rowsAgain } = linesOf(again);
    expect(rowsAgain).toEqual(rows);
    expect(after).toEqual(expect.arrayContaining([...before]));
  });

  it("are written with the columns that Neuronpedia's tables want, none of them null", () => {
    const facts = { modelId: "m", sourceId: "0-s", setName: "s", layer: 0, hookName: "h", seed: "s", createdAt: "t" };
    for (const name of ["modelId", "layer", "index", "createdAt", "hasVector", "vector", "frac_nonzero", "pos_str", "freq_hist_data_bar_values"]) expect(featureRow(facts, {})[name]).not.toBeNull();
    for (const name of ["id", "modelId", "layer", "index", "tokens", "values", "maxValue", "maxValueTokenIndex", "minValue", "dfaValues", "lossValues"]) expect(exampleRow(facts, 0, 0, ["a"], [1])[name]).not.toBeNull();
  });
});

describe("SAEDashboard's batches", () => {
  it("come back with every field of every feature and example, and of what stands beside them", async () => {
    const folder = await exportTo("sd-again", (await imported(join(given, "saedashboard"), "importSaeDashboard")).name, "exportSaeDashboard");
    expect(dashboardOf(folder)).toEqual(dashboardOf(join(given, "saedashboard")));
    for (const file of ["run_settings.json", "skipped_indexes.json"]) expect(JSON.parse(readFileSync(join(folder, file), "utf8"))).toEqual(JSON.parse(readFileSync(join(given, "saedashboard", file), "utf8")));
  });

  it("carry our own index, and Neuronpedia's rows through the names that both have", async () => {
    const first = await exportTo("sd-own", toy.index, "exportSaeDashboard");
    const index = await imported(first, "importSaeDashboard");
    expect(dashboardOf(await exportTo("sd-own-again", index.name, "exportSaeDashboard"))).toEqual(dashboardOf(first));
    const rows = linesOf(await exportTo("sd-own-np", index.name, "exportNeuronpedia"))["toy/0-small/activations/batch.jsonl.gz"]?.map((line) => JSON.parse(line) as Row) ?? [];
    const own = linesOf(join(toy.folder, "np-own"))["toy/0-small/activations/batch.jsonl.gz"]?.map((line) => JSON.parse(line) as Row) ?? [];
    const carried = ({ index: feature, tokens, values, binMin, binMax, binContains, qualifyingTokenIndex, maxValue, maxValueTokenIndex, minValue }: Row) =>
      JSON.stringify([feature, tokens, values, binMin, binMax, binContains, qualifyingTokenIndex, maxValue, maxValueTokenIndex, minValue]);
    expect(rows.map(carried).sort()).toEqual(own.map(carried).sort());
  });
});

describe("Delphi's cache", () => {
  /** Activations as text, sorted, and the tokens. */
  async function cacheOf(folder: string) {
    const activations: string[] = [];
    let tokens: number[] = [];
    for (const name of readdirSync(folder).filter((file) => file.endsWith(".safetensors"))) {
      await using file = await openSafetensors(join(folder, name));
      const places = wholeNumbers(await file.read("locations"), name, "locations");
      const values = await file.readF32("activations");
      const start = Number(name.split("_")[0]);
      for (const [i, value] of values.entries()) activations.push([places[3 * i], places[3 * i + 1], start + (places[3 * i + 2] as number), value].join(" "));
      tokens = [...wholeNumbers(await file.read("tokens"), name, "tokens")];
    }
    return { activations: activations.sort(), tokens };
  }

  it("comes back with every activation and token, unrounded, and has the statistics of any index", async () => {
    const index = await imported(join(given, "delphi"), "importDelphiCache");
    const before = await cacheOf(join(given, "delphi/layers.0"));
    expect(Number(index.nActivations)).toBe(before.activations.length);
    const folder = await exportTo("delphi-again", index.name, "exportDelphiCache");
    expect(await cacheOf(join(folder, "layers.0"))).toEqual(before);
    const page = await pageOf(index, 20);
    const values = before.activations.map((line) => line.split(" ").map(Number)).filter(([, token, latent]) => latent === 20 && token !== 0).map(([, , , value]) => value as number);
    expect(page.nFirings).toBe(BigInt(values.length));
    expect(page.examples[0]?.maxActivation).toBe(Math.max(...values));
    expect(page.unknownFields).toEqual([]);
    expect(page.wDecNorm).toBeGreaterThan(0);
  });

  it("carries every activation of our own index", async () => {
    const first = await exportTo("delphi-own", toy.index, "exportDelphiCache");
    const index = await imported(first, "importDelphiCache");
    expect(await cacheOf(join(await exportTo("delphi-own-again", index.name, "exportDelphiCache"), "layers.0"))).toEqual(await cacheOf(join(first, "layers.0")));
    const [own, other] = [await toy.service.index.getFeature({ name: `${TOY.sae}/features/7`, corpus: "corpora/toy", view: FeatureView.FULL }), await pageOf(index, 7)];
    const kept = ({ nFirings, maxActivation, fracNonzero, linearHist, freqHist }: Pick<typeof other, "nFirings" | "maxActivation" | "fracNonzero" | "linearHist" | "freqHist">) => ({ nFirings, maxActivation, fracNonzero, linearHist, freqHist });
    expect(kept(other)).toEqual(own.feature === undefined ? undefined : kept(own.feature));
  });

  it("is not made of examples alone", async () => {
    await expect(exportTo("none", "indexes/small-neuronpedia", "exportDelphiCache")).rejects.toThrow("it does not tell where every feature fires");
  });
});
