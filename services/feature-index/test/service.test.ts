import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CoActivationMeasure, IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { ActivationGroup, type Feature, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { SaeSide } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { Code } from "@mistral-sae/rpc";
import { type ReferenceFiring, type ReferenceToken, referenceFirings, referenceTokens } from "./fixtures/reference.ts";
import { type ToyDocument, toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { startToyInference, TOY, toyCode, toyDirection, toyIds, type ToyInference, toyLogits, toyMisses, toyNeighbours, toyText } from "./fixtures/toy-inference.ts";
import { finished, removeFolder, startService, temporaryFolder, type TestService } from "./fixtures/with-service.ts";

const CONTEXT = 32;
let documents: ToyDocument[];
let tokens: ReferenceToken[];
let firings: Map<number, ReferenceFiring[]>;
let toy: ToyInference;
let service: TestService;
let folder: string;

/** Firings that statistics are over, in the order of the text. */
const counted = (feature: number) => (firings.get(feature) ?? []).filter(({ special }) => !special);
const feature = (n: number) => `${TOY.sae}/features/${n}`;
const word = (text: string) => ({ prompt: { case: "text", value: text } }) as const;

beforeAll(async () => {
  documents = toyDocuments(700);
  tokens = referenceTokens(documents, CONTEXT);
  firings = referenceFirings(tokens);
  folder = temporaryFolder();
  toy = await startToyInference();
  service = await startService(`${folder}/data`, toy.address);
  const uri = writeToyCorpus(`${folder}/corpus`, documents);
  await service.index.createCorpus({ corpusId: "toy", source: { uri }, contextSize: CONTEXT });
  const { operation } = await service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" });
  await finished(service, operation);
});
afterAll(async () => {
  await service.stop();
  await toy.close(100);
  removeFolder(folder);
});

async function page(n: number, contextTokens?: number): Promise<Feature> {
  const { feature: found } = await service.index.getFeature({ name: feature(n), view: FeatureView.FULL, ...(contextTokens === undefined ? {} : { contextTokens }) });
  if (found === undefined) throw new Error("no feature came back");
  return found;
}

/** Strongest first, then by position. */
function byStrength(a: ReferenceFiring, b: ReferenceFiring): number {
  return b.value - a.value || a.sequence - b.sequence || a.token - b.token;
}

function* oneADocument(ordered: readonly ReferenceFiring[]): Iterable<ReferenceFiring> {
  const docs = new Set<number>();
  for (const firing of ordered) {
    if (docs.has(firing.doc)) continue;
    docs.add(firing.doc);
    yield firing;
  }
}

describe("a corpus", () => {
  it("keeps every document and token, special ones marked", async () => {
    const { corpus } = await service.index.getCorpus({ name: "corpora/toy" });
    const special = tokens.filter((token) => token.special).length;
    expect(corpus).toMatchObject({ nDocuments: 700n, nSequences: BigInt((tokens.at(-1)?.sequence ?? 0) + 1), nTokens: BigInt(tokens.length), nSpecialTokens: BigInt(special), contextSize: CONTEXT });
    expect(special).toBeGreaterThan((tokens.at(-1)?.sequence ?? 0) + 1);
    expect(corpus?.digest).toMatch(/^[0-9a-f]{64}$/);
  });

  it("is registered once for the same request, and not over another", async () => {
    const uri = `${folder}/corpus`;
    const request = { corpusId: "again", source: { uri, maxDocuments: 3n }, requestId: "r1" };
    const { corpus } = await service.index.createCorpus(request);
    expect((await service.index.createCorpus(request)).corpus).toEqual(corpus);
    await expect(service.index.createCorpus({ ...request, contextSize: 64 })).rejects.toMatchObject({ code: Code.AlreadyExists });
    await expect(service.index.createCorpus({ ...request, requestId: "" })).rejects.toMatchObject({ code: Code.AlreadyExists });
    await service.index.deleteCorpus({ name: "corpora/again" });
    await expect(service.index.getCorpus({ name: "corpora/again" })).rejects.toMatchObject({ code: Code.NotFound });
  });

  it.each([
    [{ corpusId: "Bad Id", source: { uri: "x" } }, "corpus_id"],
    [{ corpusId: "x" }, "source.uri"],
    [{ corpusId: "x", source: { uri: "/no/such/folder" } }, "/no/such/folder"],
    [{ corpusId: "x", source: { uri: "x" }, contextSize: 1 }, "a context of 1 tokens cannot be indexed"],
    [{ corpusId: "x", source: { uri: "x" }, contextSize: 70_000 }, "a context of 70000 tokens cannot be indexed"],
  ])("is refused for %j", async (request, message) => {
    await expect(service.index.createCorpus(request)).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining(message) as string });
  });
});

describe("an index", () => {
  it("holds every activation", async () => {
    const { indexes } = await service.index.listIndexes({ withTableChecksums: true });
    const nActivations = [...firings.values()].reduce((sum, { length }) => sum + length, 0);
    expect(indexes).toHaveLength(1);
    expect(indexes[0]).toMatchObject({ name: "indexes/small-toy", sae: TOY.sae, corpus: "corpora/toy", state: IndexState.READY, dSae: TOY.dSae, nTokens: BigInt(tokens.length), nActivations: BigInt(nActivations), saeDigest: TOY.digest });
    expect(Object.keys(indexes[0]?.tableChecksums ?? {}).sort()).toEqual(["documents", "feature_examples", "feature_pages", "features", "imported_rows", "logit_features", "near_misses", "postings", "sampled_codes", "sequences", "token_counts", "token_features"]);
    expect(Number(indexes[0]?.tableBytes["postings"])).toBeGreaterThan(0);
  });

  it("is not built twice for the same SAE and corpus", async () => {
    const before = toy.calls.encode;
    const { operation } = await service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy" });
    expect((await finished(service, operation)).name).toBe("indexes/small-toy");
    expect(toy.calls.encode).toBe(before);
  });

  it("covers as many tokens as it was asked for, and can count special tokens", async () => {
    toy.architecture = "standard";
    const { operation } = await service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/toy", maxTokens: 5_000n, includeSpecialTokens: true });
    const index = await finished(service, operation);
    toy.architecture = "topk";
    expect(Number(index.nTokens)).toBeLessThanOrEqual(5_000);
    expect(Number(index.nTokens)).toBeGreaterThan(5_000 - CONTEXT);
    const within = tokens.slice(0, Number(index.nTokens));
    const all = referenceFirings(within);
    const listed = await service.index.listFeatures({ parent: TOY.sae, corpus: "corpora/toy", pageSize: 1000 });
    for (const found of listed.features) expect(Number(found.nFirings), found.name).toBe(all.get(found.featureIndex)?.length ?? 0);
    // The strongest example of the token that begins every window.
    const onBos = toyCode(TOY.bos, 0)[0]?.feature ?? 0;
    const { activations } = await service.index.listActivations({ parent: feature(onBos), group: ActivationGroup.RANDOM, pageSize: 200 });
    expect(activations.some(({ tokens: shown, qualifyingTokenIndex }) => shown?.tokenIds[qualifyingTokenIndex] === TOY.bos)).toBe(true);
    const nearMisses = service.index.listActivations({ parent: feature(1), group: ActivationGroup.NEAR_MISS });
    await expect(nearMisses).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "NO_NEAR_MISSES", message: expect.stringMatching(/small is a standard SAE.* index the corpus again/) as string });
    await service.index.deleteIndex({ name: index.name });
    expect((await service.index.listIndexes({})).indexes.map(({ name }) => name)).toEqual(["indexes/small-toy"]);
  });
});

describe("a feature", () => {
  it.each([0, 1, 7, 30, 60, 94])("%i has the statistics of its firings", async (n) => {
    const found = await page(n);
    const wanted = counted(n);
    const nTokens = tokens.filter(({ special }) => !special).length;
    const sum = wanted.reduce((total, { value }) => total + value, 0);
    expect(found).toMatchObject({ name: feature(n), featureIndex: n, hookName: "blocks.0.hook_resid_post", nFirings: BigInt(wanted.length), dead: false });
    expect(found.fracNonzero).toBeCloseTo(wanted.length / nTokens, 12);
    expect(found.maxActivation).toBe(Math.max(...wanted.map(({ value }) => value)));
    expect(found.meanActivation).toBeCloseTo(sum / wanted.length, 5);
    expect(found.wDecNorm).toBeCloseTo(Math.hypot(...toyDirection(n)), 5);
  });

  it("that never fires is dead and has no examples", async () => {
    const found = await page(95);
    expect(found).toMatchObject({ dead: true, nFirings: 0n, fracNonzero: 0, maxActivation: 0, examples: [], topTokens: [] });
    expect(found.freqHist).toBeUndefined();
    expect(found.posLogits).toHaveLength(20);
  });

  it.each([2, 40])("%i has both histograms", async (n) => {
    const { freqHist, linearHist } = await page(n);
    const values = counted(n).map(({ value }) => value);
    for (const histogram of [freqHist, linearHist]) {
      const edges = histogram?.binEdges ?? [];
      const counts = (histogram?.counts ?? []).map(Number);
      expect(edges).toHaveLength(counts.length + 1);
      const last = counts.length - 1;
      for (const [i, count] of counts.entries()) {
        const [low = 0, high = 0] = edges.slice(i, i + 2);
        expect(count, `bin ${i}`).toBe(values.filter((value) => value >= low && (value < high || (i === last && value <= high))).length);
      }
    }
    expect(linearHist?.counts).toHaveLength(40);
    expect(freqHist?.counts.some((count) => count > 0n)).toBe(true);
  });

  it.each([2, 40])("%i has its firings by position", async (n) => {
    const { positionHist } = await page(n);
    const edges = positionHist?.binEdges ?? [];
    expect(edges).toEqual(Array.from({ length: 33 }, (_, i) => (i * CONTEXT) / 32));
    expect(positionHist?.counts.map(Number)).toEqual(Array.from({ length: 32 }, (_, bin) => counted(n).filter(({ token }) => token >= (edges[bin] ?? 0) && token < (edges[bin + 1] ?? 0)).length));
  });

  it.each([3, 50])("%i has its tokens by summed activation, and its sources", async (n) => {
    const { topTokens, nFiringsBySource } = await page(n);
    const sums = new Map<number, { n: number; sum: number }>();
    for (const { id, value } of counted(n)) {
      const { n: count, sum } = sums.get(id) ?? { n: 0, sum: 0 };
      sums.set(id, { n: count + 1, sum: sum + value });
    }
    const wanted = [...sums].sort(([a, x], [b, y]) => y.sum - x.sum || a - b).slice(0, 100);
    expect(topTokens.map(({ tokenId, n: count, strToken }) => [tokenId, Number(count), strToken])).toEqual(wanted.map(([id, { n: count }]) => [id, count, toyText(id)]));
    for (const [i, { sumActivation }] of topTokens.entries()) expect(sumActivation).toBeCloseTo(wanted[i]?.[1].sum ?? 0, 2);
    const sources = Object.groupBy(counted(n), ({ source }) => source);
    expect(nFiringsBySource).toEqual(Object.fromEntries(Object.entries(sources).map(([source, list]) => [source, BigInt(list?.length ?? 0)])));
  });

  it.each([5, 20, 70])("%i shows its 20 strongest firings, one a document, and evenly spaced ones of each stratum", async (n) => {
    const { examples } = await page(n);
    const ordered = counted(n).toSorted(byStrength);
    const top = [...oneADocument(ordered)].slice(0, 20);
    const shown = examples.filter(({ group }) => group === ActivationGroup.TOP);
    expect(shown.map(placeOf)).toEqual(top.map(({ doc, sequence, value }) => [BigInt(doc), BigInt(sequence), value]));
    for (let bin = 0; bin < 5; bin++) {
      const start = Math.floor((bin * ordered.length) / 5);
      const end = Math.floor(((bin + 1) * ordered.length) / 5);
      const ranks = [...new Set(Array.from({ length: 5 }, (_, i) => start + Math.floor(((i + 0.5) * (end - start)) / 5)))];
      const wanted = [...oneADocument(ranks.map((rank) => ordered[rank] as ReferenceFiring))];
      const inBin = examples.filter((example) => example.group === ActivationGroup.QUANTILE_COUNT && example.bin === bin);
      expect(inBin.map(placeOf), `stratum ${bin}`).toEqual(wanted.map(({ doc, sequence, value }) => [BigInt(doc), BigInt(sequence), value]));
      for (const example of inBin) {
        expect(example).toMatchObject({ binMax: ordered[start]?.value, binMin: ordered[end - 1]?.value });
        expect(example.binContains).toBeCloseTo((end - start) / ordered.length, 12);
      }
    }
  });

  it("shows the text of an example with the feature's firings in it", async () => {
    /** Tokens of the document before this one, special ones not counted. */
    const before = (at: ReferenceToken) => tokens.filter(({ doc, sequence, token, special }) => doc === at.doc && !special && (sequence < at.sequence || (sequence === at.sequence && token < at.token))).length;
    for (const context of [32, 3, 0]) {
      for (const example of (await page(6, context)).examples) {
        const window = tokens.filter(({ sequence }) => BigInt(sequence) === example.sequenceId);
        const at = window.find((token) => token.token > 0 && before(token) === example.tokenStart + example.qualifyingTokenIndex && token.id === example.tokens?.tokenIds[example.qualifyingTokenIndex]) as ReferenceToken;
        const start = Math.max(1, at.token - context);
        const shown = window.filter(({ token }) => token >= start && token <= at.token + context);
        expect(example.tokens?.tokenIds).toEqual(shown.map(({ id }) => id));
        expect(example.tokens?.strTokens).toEqual(shown.map(({ id }) => toyText(id)));
        const firing = (firings.get(6) ?? []).filter(({ sequence, token, special }) => sequence === at.sequence && token >= start && token <= at.token + context && !special);
        expect(example.positions).toEqual(firing.map(({ token }) => token - start));
        expect(example.values).toEqual(firing.map(({ value }) => value));
        expect(example.dataSource).toBe(at.source);
      }
    }
  });

  it("has the logits and neighbours that the weights give", async () => {
    const found = await page(10);
    for (const [side, listed] of [[1, found.posLogits], [-1, found.negLogits]] as const) {
      expect(listed.map(({ tokenId, logit, strToken }) => ({ tokenId, logit, strToken }))).toEqual(toyLogits(10, 20, side).map((entry) => ({ ...entry, strToken: toyText(entry.tokenId) })));
    }
    expect(found.nearest[0]?.featureIndex).toBe(11);
    expect(found.nearest[0]?.value).toBeGreaterThan(0.99);
    for (const [side, listed] of [[SaeSide.DECODER, found.nearest], [SaeSide.ENCODER, found.encoderNearest]] as const) {
      const wanted = toyNeighbours(10, 10, side);
      expect(listed.map(({ featureIndex }) => featureIndex)).toEqual(wanted.map((other) => other.feature));
      for (const [i, { value }] of listed.entries()) expect(value).toBeCloseTo(wanted[i]?.cosine ?? 0, 6);
    }
    expect(found.wDecNorm).toBeCloseTo(Math.hypot(...toyDirection(10)), 5);
  });

  it("fires together with what the counts say", async () => {
    const at = (n: number) => new Set(counted(n).map(({ sequence, token }) => sequence * CONTEXT + token));
    const own = at(8);
    const jaccard = (other: number) => {
      const theirs = at(other);
      const both = [...own].filter((position) => theirs.has(position)).length;
      return both / (own.size + theirs.size - both);
    };
    const { features } = await service.index.listCoActivations({ parent: feature(8), pageSize: 5 });
    const wanted = Array.from({ length: TOY.dSae }, (_, n) => n).filter((n) => n !== 8).map((n) => ({ n, value: jaccard(n) })).sort((a, b) => b.value - a.value).slice(0, 5);
    expect(features.map(({ featureIndex }) => featureIndex)).toEqual(wanted.map(({ n }) => n));
    for (const [i, { value }] of features.entries()) expect(value).toBeCloseTo(wanted[i]?.value ?? 0, 6);
    expect((await page(8)).correlated.slice(0, 5).map(({ featureIndex }) => featureIndex)).toEqual(wanted.map(({ n }) => n));
  });

  it("fires together by each measure as 2 by 2 tables of all tokens say", async () => {
    const plain = tokens.filter(({ special }) => !special);
    const at = Array.from({ length: TOY.dSae }, (_, n) => new Set(counted(n).map(({ sequence, token }) => sequence * CONTEXT + token)));
    const own = at[17] ?? new Set();
    const pairs = at.map((theirs, n) => {
      const both = [...own].filter((position) => theirs.has(position)).length;
      const [a, b, total] = [own.size / plain.length, theirs.size / plain.length, plain.length];
      const covariance = both / total - a * b;
      return { n, both, phi: covariance / Math.sqrt(a * (1 - a) * b * (1 - b)), pmi: Math.log(both / total) - Math.log(a * b), jaccard: both / new Set([...own, ...theirs]).size };
    });
    for (const [name, measure] of [["jaccard", CoActivationMeasure.JACCARD], ["phi", CoActivationMeasure.PHI], ["pmi", CoActivationMeasure.PMI]] as const) {
      const wanted = pairs.filter(({ n, both }) => n !== 17 && both >= 2).sort((x, y) => y[name] - x[name] || x.n - y.n).slice(0, 10);
      const { features } = await service.index.listCoActivations({ parent: feature(17), measure, pageSize: 10 });
      expect(features.map(({ featureIndex }) => featureIndex), name).toEqual(wanted.map(({ n }) => n));
      for (const [i, { value }] of features.entries()) expect(value, name).toBeCloseTo(wanted[i]?.[name] ?? 0, 5);
    }
  });

  it("is refused when it does not exist", async () => {
    await expect(service.index.getFeature({ name: feature(96) })).rejects.toMatchObject({ code: Code.InvalidArgument, reason: "FEATURE_OUT_OF_RANGE" });
    await expect(service.index.getFeature({ name: "features/1" })).rejects.toMatchObject({ code: Code.InvalidArgument });
    await expect(service.index.getFeature({ name: "models/toy/saes/other/features/1" })).rejects.toMatchObject({ code: Code.NotFound });
    await expect(service.index.getFeature({ name: feature(1), corpus: "corpora/other" })).rejects.toMatchObject({ code: Code.NotFound });
  });
});

function placeOf(example: Feature["examples"][number]): unknown[] {
  return [example.docId, example.sequenceId, example.values[example.positions.indexOf(example.qualifyingTokenIndex)]];
}

describe("batchGetFeatures and listFeatures", () => {
  it("return features in the order asked for", async () => {
    const { features } = await service.index.batchGetFeatures({ parent: TOY.sae, featureIndices: [9, 2, 95], view: FeatureView.FULL });
    expect(features.map(({ featureIndex }) => featureIndex)).toEqual([9, 2, 95]);
    expect(features[0]).toEqual(await page(9));
    await expect(service.index.batchGetFeatures({ parent: TOY.sae, featureIndices: Array.from({ length: 129 }, () => 1) })).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  it("filter, order and page", async () => {
    const request = { parent: TOY.sae, filter: "n_firings > 100 AND NOT dead AND max_activation < 8", orderBy: "mean_activation desc", pageSize: 7 };
    const found: number[] = [];
    let pageToken = "";
    do {
      const answer = await service.index.listFeatures({ ...request, pageToken });
      found.push(...answer.features.map(({ featureIndex }) => featureIndex));
      pageToken = answer.nextPageToken;
      const wanted = Array.from({ length: TOY.dSae }, (_, n) => ({ n, values: counted(n).map(({ value }) => value) })).filter(({ values }) => values.length > 100 && Math.max(...values) < 8);
      expect(Number(answer.totalSize)).toBe(wanted.length);
    } while (pageToken !== "");
    const mean = (n: number) => counted(n).reduce((sum, { value }) => sum + value, 0) / counted(n).length;
    expect(found).toEqual(found.toSorted((a, b) => mean(b) - mean(a)));
    expect(new Set(found).size).toBe(found.length);
  });

  it("refuse a page token of another request, and a filter that is none", async () => {
    const { nextPageToken } = await service.index.listFeatures({ parent: TOY.sae, pageSize: 5 });
    await expect(service.index.listFeatures({ parent: TOY.sae, pageSize: 5, orderBy: "n_firings", pageToken: nextPageToken })).rejects.toMatchObject({ reason: "PAGE_TOKEN_INVALID" });
    await expect(service.index.listFeatures({ parent: TOY.sae, filter: "n_firings >" })).rejects.toMatchObject({ code: Code.InvalidArgument, reason: "FILTER_SYNTAX" });
  });
});

describe("listActivations", () => {
  it("pages through the strongest firings, one a document", async () => {
    const wanted = [...oneADocument(counted(33).toSorted(byStrength))];
    const found: unknown[] = [];
    let pageToken = "";
    do {
      const answer = await service.index.listActivations({ parent: feature(33), pageSize: 40, pageToken });
      found.push(...answer.activations.map(placeOf));
      pageToken = answer.nextPageToken;
    } while (pageToken !== "");
    expect(found).toEqual(wanted.map(({ doc, sequence, value }) => [BigInt(doc), BigInt(sequence), value]));
  });

  it("draws the same examples for the same seed, and pages without repeats", async () => {
    const request = { parent: feature(12), group: ActivationGroup.RANDOM, seed: 7n, pageSize: 30 };
    const once = await service.index.listActivations(request);
    const next = await service.index.listActivations({ ...request, pageToken: once.nextPageToken });
    expect((await service.index.listActivations(request)).activations).toEqual(once.activations);
    expect((await service.index.listActivations({ ...request, seed: 8n })).activations).not.toEqual(once.activations);
    const key = (example: Feature["examples"][number]) => `${example.sequenceId} ${example.tokenStart + example.qualifyingTokenIndex}`;
    expect(new Set([...once.activations, ...next.activations].map(key)).size).toBe(60);
  });

  it("cuts the firings into strata by count and by value", async () => {
    const ordered = counted(25).toSorted(byStrength);
    const byCount = await service.index.listActivations({ parent: feature(25), group: ActivationGroup.QUANTILE_COUNT, nBins: 4, pageSize: 12 });
    expect(byCount.activations.map(({ bin }) => bin)).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    for (const example of byCount.activations) {
      const [, , value] = placeOf(example) as [bigint, bigint, number];
      expect(value).toBeLessThanOrEqual(example.binMax);
      expect(value).toBeGreaterThanOrEqual(example.binMin);
      expect(example.binContains).toBeCloseTo(0.25, 2);
    }
    expect(byCount.activations[0]?.binMax).toBe(ordered[0]?.value);
    const byValue = await service.index.listActivations({ parent: feature(25), group: ActivationGroup.QUANTILE_VALUE, nBins: 4, pageSize: 8 });
    const max = ordered[0]?.value ?? 0;
    for (const { bin, binMin, binMax, binContains } of byValue.activations) {
      expect([binMin, binMax]).toEqual([(max * (3 - bin)) / 4, (max * (4 - bin)) / 4]);
      const inside = ordered.filter(({ value }) => value >= binMin && (value < binMax || bin === 0)).length;
      expect(binContains).toBeCloseTo(inside / ordered.length, 12);
    }
  });

  it("shows windows where the feature is silent", async () => {
    const firing = new Set(counted(80).map(({ sequence }) => BigInt(sequence)));
    const { activations } = await service.index.listActivations({ parent: feature(80), group: ActivationGroup.NON_ACTIVATING, seed: 3n, pageSize: 50 });
    expect(activations).toHaveLength(50);
    for (const { sequenceId, positions } of activations) {
      expect(firing.has(sequenceId)).toBe(false);
      expect(positions).toEqual([]);
    }
  });

  it("keeps to one source", async () => {
    for (const group of [ActivationGroup.TOP, ActivationGroup.RANDOM, ActivationGroup.NON_ACTIVATING, ActivationGroup.QUANTILE_COUNT, ActivationGroup.NEAR_MISS]) {
      const { activations } = await service.index.listActivations({ parent: feature(90), group, dataSource: "books" });
      expect(activations.length).toBeGreaterThan(0);
      expect(activations.every(({ dataSource }) => dataSource === "books")).toBe(true);
    }
  });

  it.each([1, 33, 95])("shows the tokens on which %i came closest to firing, one a document", async (n) => {
    const missed = tokens
      .filter(({ special }) => !special)
      .flatMap((token) => toyMisses(token.id, token.left, 8).filter((miss) => miss.feature === n).map((miss) => ({ ...token, ...miss })))
      .sort((a, b) => b.value / b.threshold - a.value / a.threshold || b.value - a.value || a.sequence - b.sequence || a.token - b.token);
    const docs = new Set<number>();
    const wanted = missed.filter(({ doc }) => !docs.has(doc) && docs.add(doc)).slice(0, 10);
    const { activations } = await service.index.listActivations({ parent: feature(n), group: ActivationGroup.NEAR_MISS });
    expect(activations.map(({ sequenceId, docId, values, binMax }) => [Number(sequenceId), Number(docId), ...values, binMax])).toEqual(wanted.map(({ sequence, doc, value, threshold }) => [sequence, doc, value, threshold]));
    for (const [i, { positions, qualifyingTokenIndex, tokens: shown }] of activations.entries()) {
      expect(positions).toEqual([qualifyingTokenIndex]);
      expect(shown?.tokenIds[qualifyingTokenIndex]).toBe(wanted[i]?.id);
    }
    const first = await service.index.listActivations({ parent: feature(n), group: ActivationGroup.NEAR_MISS, pageSize: 6 });
    const rest = await service.index.listActivations({ parent: feature(n), group: ActivationGroup.NEAR_MISS, pageSize: 6, pageToken: first.nextPageToken });
    expect([...first.activations, ...rest.activations]).toEqual(activations);
    expect(rest.nextPageToken).toBe("");
  });

  it("refuses a group that is none", async () => {
    await expect(service.index.listActivations({ parent: feature(1), group: 77 as ActivationGroup })).rejects.toMatchObject({ code: Code.InvalidArgument });
  });
});

describe("getHistogram", () => {
  it.each([false, true])("counts every firing in the bins asked for (log: %s)", async (log) => {
    const { histogram } = await service.index.getHistogram({ name: feature(14), nBins: 13, log });
    const values = counted(14).map(({ value }) => value);
    expect(histogram?.counts).toHaveLength(13);
    expect(histogram?.counts.reduce((sum, count) => sum + Number(count), 0)).toBe(values.length);
    expect(histogram?.binEdges.at(-1)).toBe(Math.max(...values));
    expect(histogram?.binEdges[0]).toBeCloseTo(log ? Math.min(...values) : 0, 6);
  });
});

describe("search", () => {
  it("finds what a text fires", async () => {
    const text = "word3 word9 word3 </s> word27";
    const ids = [TOY.bos, ...toyIds(text)];
    const rows = ids.map((id, i) => toyCode(id, ids[i - 1] ?? 0));
    const values = (n: number) => rows.flatMap((row, i) => (ids[i] as number) < 5 ? [] : row.filter((pair) => pair.feature === n).map(({ value }) => value));
    const all = Array.from({ length: TOY.dSae }, (_, n) => n).filter((n) => values(n).length > 0);
    for (const [aggregate, of] of [[1, (v: number[]) => Math.max(...v)], [2, (v: number[]) => sum(v) / 4], [3, sum], [4, (v: number[]) => v.length]] as const) {
      const { matches, tokens: read } = await service.index.searchByText({ saes: [TOY.sae], prompt: word(text), aggregate, numResults: 1000 });
      expect(read?.tokenIds).toEqual(ids);
      const wanted = all.map((n) => ({ n, value: of(values(n)) })).sort((a, b) => b.value - a.value || a.n - b.n);
      expect(matches.map(({ featureIndex }) => featureIndex)).toEqual(wanted.map(({ n }) => n));
      for (const [i, { value }] of matches.entries()) expect(value).toBeCloseTo(wanted[i]?.value ?? 0, 5);
      expect(matches[0]?.fracNonzero).toBeCloseTo((await page(matches[0]?.featureIndex ?? 0)).fracNonzero, 12);
    }
  });

  it("leaves dense features out before it takes the best, and subtracts a contrast", async () => {
    const request = { saes: [TOY.sae], prompt: word("word3 word9 word27 word81"), numResults: 5 };
    const dense = await service.index.searchByText({ ...request, densityThreshold: 0.05 });
    expect(dense.matches.length).toBeGreaterThan(0);
    expect(dense.matches.every(({ fracNonzero }) => (fracNonzero ?? 1) <= 0.05)).toBe(true);
    expect((await service.index.searchByText({ ...request, contrast: word("word3 word9 word27 word81") })).matches).toEqual([]);
    const onlyLast = await service.index.searchByText({ ...request, tokenIndexes: [4] });
    expect(onlyLast.matches.every(({ positions }) => positions.every((position) => position === 4))).toBe(true);
    await expect(service.index.searchByText({ ...request, tokenIndexes: [5] })).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  it("returns the code of each token", async () => {
    const { tokens: read, code } = await service.index.topFeaturesByToken({ sae: TOY.sae, prompt: word("word1 word2"), topK: 2 });
    expect(read?.strTokens).toHaveLength(3);
    expect(code?.nTokens).toBe(3);
    expect(code?.featureIndices.byteLength).toBe(3 * 2 * 4);
  });

  it("tells two sets of texts apart", async () => {
    const { contrasts } = await service.index.contrastFeatures({ sae: TOY.sae, promptsA: [word("word1"), word("word1 word1")], promptsB: [word("word2")], numResults: 4 });
    expect(contrasts).toHaveLength(4);
    const size = contrasts.map(({ valueA, valueB }) => Math.abs(valueA - valueB));
    expect(size).toEqual(size.toSorted((a, b) => b - a));
  });

  it("finds features by a token, most telling first", async () => {
    const id = toyIds("word0")[0] as number;
    const { hits } = await service.index.searchByToken({ parent: TOY.sae, tokenId: id });
    const plain = tokens.filter(({ special }) => !special);
    const occurrences = plain.filter((token) => token.id === id).length;
    expect(hits.length).toBeGreaterThan(2);
    for (const { feature: found, value } of hits) {
      const own = counted(found?.featureIndex ?? -1);
      const on = own.filter((firing) => firing.id === id).length;
      expect(value).toBeCloseTo(Math.log((on * plain.length) / (own.length * occurrences)), 6);
    }
    const order = hits.map(({ value }) => value);
    expect(order).toEqual(order.toSorted((a, b) => b - a));
    // All of them: what fires on at least 2% of the occurrences and has the token among its hundred by summed activation.
    const all = Array.from({ length: TOY.dSae }, (_, n) => n).filter((n) => {
      const sums = new Map<number, number>();
      for (const firing of counted(n)) sums.set(firing.id, (sums.get(firing.id) ?? 0) + firing.value);
      const best = [...sums].sort((x, y) => y[1] - x[1]).slice(0, 100).map(([token]) => token);
      return best.includes(id) && counted(n).filter((firing) => firing.id === id).length >= Math.max(1, 0.02 * occurrences);
    });
    expect(hits.map(({ feature: found }) => found?.featureIndex).sort((a, b) => (a ?? 0) - (b ?? 0))).toEqual(all);
    await expect(service.index.searchByToken({ parent: TOY.sae, tokenId: 300 })).rejects.toMatchObject({ reason: "TOKEN_OUT_OF_VOCAB" });
  });

  it("finds features by a promoted token", async () => {
    const wanted = Array.from({ length: TOY.dSae }, (_, n) => ({ n, logit: toyLogits(n, 20, 1).find(({ tokenId }) => tokenId === 42)?.logit })).filter(({ logit }) => logit !== undefined);
    const { hits } = await service.index.searchByLogit({ parent: TOY.sae, tokenId: 42 });
    expect(hits.map(({ feature: found, value }) => ({ n: found?.featureIndex, logit: value }))).toEqual(wanted.sort((a, b) => (b.logit ?? 0) - (a.logit ?? 0)));
    const suppressed = Array.from({ length: TOY.dSae }, (_, n) => ({ n, logit: toyLogits(n, 20, -1).find(({ tokenId }) => tokenId === 42)?.logit ?? 0 })).filter(({ logit }) => logit < 0);
    const { hits: lowest } = await service.index.searchByLogit({ parent: TOY.sae, tokenId: 42, negative: true });
    expect(lowest.map(({ feature: found, value }) => ({ n: found?.featureIndex, logit: value }))).toEqual(suppressed.sort((a, b) => a.logit - b.logit));
  });

  it("finds features by the words of their explanations, tokens and logits", async () => {
    const entry = (n: number, name: string, description: string, score?: number) => ({ feature: feature(n), summary: { name, description, explanationType: "local_summary", ...(score === undefined ? {} : { score }) } });
    await service.index.putExplanations({ entries: [entry(40, "explanations/a", "swimming in the deep sea"), entry(41, "explanations/b", "kings and queens", 0.7), entry(41, "explanations/c", "royal people", 0.9)] });
    const search = async (query: string) => (await service.index.searchExplanations({ parent: TOY.sae, query })).hits;
    expect((await search("swim, sea"))[0]?.feature?.featureIndex).toBe(40);
    expect((await search("a queen"))[0]?.feature).toMatchObject({ featureIndex: 41, explanations: [{ name: "explanations/c", description: "royal people" }] });
    expect((await page(41)).explanations.map(({ name }) => name)).toEqual(["explanations/c", "explanations/b"]);
    const byToken = await search(toyText(57).trim());
    expect(byToken.length).toBeGreaterThan(0);
    await expect(search("!!")).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  it("replaces an explanation of the same name, and refuses what names no feature", async () => {
    const entry = (description: string) => ({ entries: [{ feature: feature(44), summary: { name: "explanations/x", description } }] });
    await service.index.putExplanations(entry("first"));
    expect(await service.index.putExplanations(entry("second"))).toMatchObject({ nStored: 1 });
    expect((await page(44)).explanations.map(({ description }) => description)).toEqual(["second"]);
    const listed = await service.index.listFeatures({ parent: TOY.sae, filter: "explained AND feature_index = 44" });
    expect(listed.features.map(({ explanations }) => explanations[0]?.description)).toEqual(["second"]);
    await expect(service.index.putExplanations({ entries: [{ feature: feature(96), summary: { name: "x", description: "y" } }] })).rejects.toMatchObject({ reason: "FEATURE_OUT_OF_RANGE" });
    await expect(service.index.putExplanations({ entries: [{ feature: feature(1) }] })).rejects.toMatchObject({ code: Code.InvalidArgument });
  });
});

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
