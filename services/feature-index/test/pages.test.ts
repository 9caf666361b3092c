import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ClickHouse } from "@mistral-sae/clickhouse";
import { ActivationGroup, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { KeptWindows } from "../src/serving/kept-windows.ts";
import { readWindows } from "../src/serving/windows.ts";
import { toyDocuments } from "./fixtures/toy-corpus.ts";
import { startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY } from "./fixtures/toy-inference.ts";

const CONTEXT = 24;
const documents = toyDocuments(200);
const parent = (feature: number) => `${TOY.sae}/features/${feature}`;
let toy: ToyIndex;

beforeAll(async () => void (toy = await startToyIndex(documents, CONTEXT)));
afterAll(() => toy.close());

describe("feature pages", () => {
  it("are the same for those who ask at the same time, one feature or many", async () => {
    const { index } = toy.service;
    const features = [3, 50, 3, 95, 0, 71, 12, 88, 41, 7];
    const alone = [];
    for (const feature of features) alone.push((await index.getFeature({ name: parent(feature), view: FeatureView.FULL })).feature);
    const together = await Promise.all([...features, 9, 10, 11].map((feature) => index.getFeature({ name: parent(feature), view: FeatureView.FULL })));
    expect(together.slice(0, features.length).map(({ feature }) => feature)).toEqual(alone);
    expect((await index.batchGetFeatures({ parent: TOY.sae, featureIndices: features, view: FeatureView.FULL })).features).toEqual(alone);
    const wider = await Promise.all([0, 2, 32].map((contextTokens) => index.getFeature({ name: parent(3), view: FeatureView.FULL, contextTokens })));
    expect(wider.map(({ feature }) => Math.max(...(feature?.examples ?? []).map(({ tokens }) => tokens?.tokenIds.length ?? 0)))).toEqual([1, 5, CONTEXT - 1]);
  });
});

describe("packed pages", () => {
  it("are what the tables say that they were made of", async () => {
    const { index, clickhouse } = toy.service;
    const featureIndices = Array.from({ length: 96 }, (_, feature) => feature);
    const read = async () => [
      (await index.batchGetFeatures({ parent: TOY.sae, featureIndices, view: FeatureView.FULL })).features,
      (await index.batchGetFeatures({ parent: TOY.sae, featureIndices })).features,
    ];
    const packed = await read();
    await using direct = new ClickHouse({ url: clickhouse.url, login: clickhouse.owner });
    const { n } = await direct.row<{ n: number }>("SELECT count() AS n FROM mistral_sae.feature_pages");
    expect(n).toBe(featureIndices.length);
    await direct.command("TRUNCATE TABLE mistral_sae.feature_pages");
    expect(await read()).toEqual(packed);
  });

  it("show windows that are kept, forgotten and read again as they are stored", async () => {
    const { clickhouse } = toy.service;
    await using direct = new ClickHouse({ url: clickhouse.url, login: clickhouse.owner });
    const { corpusId } = await direct.row<{ corpusId: number }>("SELECT any(corpus_id) AS corpusId FROM mistral_sae.sequences");
    const corpus = { corpusId, digest: "toy", source: "{}" };
    const kept = new KeptWindows(direct, 3 * CONTEXT);
    for (const sequences of [[0, 1], [1, 2, 3, 4, 0], [4, 4, 0], [9]]) expect(await kept.read(corpus, sequences)).toEqual(await readWindows(direct, corpus, sequences));
  });
});

describe("activations", () => {
  it.each([["the strongest", ActivationGroup.TOP, 2], ["drawn ones", ActivationGroup.RANDOM, 90]] as const)("(%s) are those of both sources, each by itself", async (_, group, feature) => {
    const { index } = toy.service;
    // Of one source ClickHouse looks for them; of all of them the service does.
    const places = async (dataSource: string) => {
      const { activations } = await index.listActivations({ parent: parent(feature), group, dataSource, pageSize: 1_000, seed: 5n });
      return activations.map(({ sequenceId, tokenStart, qualifyingTokenIndex, values, positions }) => ({ at: `${sequenceId}/${tokenStart + qualifyingTokenIndex}`, value: values[positions.indexOf(qualifyingTokenIndex)] as number }));
    };
    const [all, books, stories] = [await places(""), await places("books"), await places("stories")];
    expect(Math.min(books.length, stories.length)).toBeGreaterThan(0);
    expect(all.length).toBeLessThan(1_000);
    const sorted = (found: typeof all) => found.map(({ at, value }) => `${at} ${value}`).sort();
    expect(sorted([...books, ...stories])).toEqual(sorted(all));
    const values = all.map(({ value }) => value);
    expect(values).toEqual(group === ActivationGroup.TOP ? values.toSorted((a, b) => b - a) : values);
  });

  it("of the strongest go on where the stored ones end", async () => {
    const { index } = toy.service;
    const whole = (await index.listActivations({ parent: parent(1), pageSize: 1_000 })).activations;
    expect(whole.length).toBeGreaterThan(45);
    const paged = [];
    for (let pageToken = "", more = true; more; more = pageToken !== "") {
      const { activations, nextPageToken } = await index.listActivations({ parent: parent(1), pageSize: 20, pageToken });
      paged.push(...activations);
      pageToken = nextPageToken;
    }
    expect(paged).toEqual(whole);
  });

  it("come with as much of their window as is asked for, none to all", async () => {
    const { index } = toy.service;
    const of = async (contextBefore: number, contextAfter: number) => (await index.listActivations({ parent: parent(4), contextBefore, contextAfter, pageSize: 30 })).activations;
    const [none, after, all] = [await of(0, 0), await of(0, 4), await of(1_000_000, 1_000_000)];
    for (const [i, whole] of all.entries()) {
      const ids = whole.tokens?.tokenIds ?? [];
      const at = whole.qualifyingTokenIndex;
      expect(none[i]?.tokens?.tokenIds).toEqual([ids[at]]);
      expect(none[i]?.positions).toEqual([0]);
      expect(after[i]?.tokens?.tokenIds).toEqual(ids.slice(at, at + 5));
      expect(ids.length).toBeLessThan(CONTEXT);
      expect(ids).not.toContain(TOY.bos);
    }
    expect(all.some(({ tokens }) => tokens?.tokenIds.length === CONTEXT - 1)).toBe(true);
  });
});

describe("lists of features", () => {
  it("filter and order by explanations, and page without repeats while more come", async () => {
    const { index } = toy.service;
    const entry = (feature: number, score?: number) => ({ feature: parent(feature), summary: { name: `explanations/${feature}`, description: `about ${feature}`, explanationType: "test", ...(score === undefined ? {} : { score }) } });
    await index.putExplanations({ entries: [entry(5, 0.2), entry(6, 0.9), entry(7), entry(8, 0.9), entry(9, 0.5)] });
    const list = async (filter: string, orderBy = "") => (await index.listFeatures({ parent: TOY.sae, filter, orderBy, pageSize: 1_000 })).features.map(({ featureIndex }) => featureIndex);
    expect(await list("explained = true")).toEqual([5, 6, 7, 8, 9]);
    expect(await list("explained", "score desc")).toEqual([6, 8, 9, 5, 7]);
    expect(await list("score >= 0.5")).toEqual([6, 8, 9]);
    expect(await list("NOT explained AND dead = true")).toEqual([95]);
    const found: number[] = [];
    for (let pageToken = "", more = true; more; more = pageToken !== "") {
      const { features, nextPageToken, totalSize } = await index.listFeatures({ parent: TOY.sae, filter: "dead = false AND frac_nonzero > 0", orderBy: "max_activation desc", pageSize: 10, pageToken });
      expect(totalSize).toBe(95n);
      found.push(...features.map(({ featureIndex }) => featureIndex));
      pageToken = nextPageToken;
    }
    expect(new Set(found).size).toBe(95);
    expect(found).toEqual(await list("dead = false", "max_activation desc"));
  });
});
