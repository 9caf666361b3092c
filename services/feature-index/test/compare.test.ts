import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Code } from "@mistral-sae/rpc";
import { type ReferenceFiring, referenceFirings, referenceTokens } from "./fixtures/reference.ts";
import { toyDocuments, writeToyCorpus } from "./fixtures/toy-corpus.ts";
import { startToyIndex, type ToyIndex } from "./fixtures/toy-index.ts";
import { TOY, toyCode, toyIds } from "./fixtures/toy-inference.ts";
import { finished } from "./fixtures/with-service.ts";

const documentsA = toyDocuments(60);
// Half of them about other words.
const documentsB = toyDocuments(50).map(({ text, source }, i) => ({ text: i % 2 === 0 ? text : text.replaceAll("word", "other"), source }));
let toy: ToyIndex;

beforeAll(async () => {
  toy = await startToyIndex(documentsA, 16);
  await toy.service.index.createCorpus({ corpusId: "other", source: { uri: writeToyCorpus(`${toy.folder}/other`, documentsB) }, contextSize: 16 });
  const { operation } = await toy.service.index.indexCorpus({ sae: TOY.sae, corpus: "corpora/other" });
  await finished(toy.service, operation);
});
afterAll(() => toy.close());

interface Side {
  readonly nTokens: number;
  readonly firings: ReadonlyMap<number, readonly ReferenceFiring[]>;
}

function sideOf(documents: typeof documentsA): Side {
  const tokens = referenceTokens(documents, 16).filter(({ special }) => !special);
  return { nTokens: tokens.length, firings: referenceFirings(tokens) };
}

/** What the formulas give, one feature after the other. */
function bruteForce(a: Side, b: Side, least: number) {
  const one = ({ nTokens, firings }: Side, feature: number) => {
    const list = firings.get(feature) ?? [];
    const n = list.length;
    return { n, density: n / nTokens, mean: n === 0 ? 0 : list.reduce((sum, { value }) => sum + value, 0) / n, log: Math.log((n + 0.5) / (nTokens + 0.5)), variance: 1 / (n + 0.5) - 1 / (nTokens + 0.5) };
  };
  return Array.from({ length: TOY.dSae }, (_, feature) => {
    const [x, y] = [one(a, feature), one(b, feature)];
    return { feature, x, y, logRatio: x.log - y.log, zScore: (x.log - y.log) / Math.sqrt(x.variance + y.variance) };
  })
    .filter(({ x, y }) => x.n >= least || y.n >= least)
    .sort((p, q) => Math.abs(q.zScore) - Math.abs(p.zScore) || p.feature - q.feature);
}

describe("compareCorpora", () => {
  const request = { sae: TOY.sae, corpusA: "corpora/toy", corpusB: "corpora/other" };

  it("gives what the formulas give of every feature, page after page", async () => {
    const wanted = bruteForce(sideOf(documentsA), sideOf(documentsB), 3);
    const found = [];
    for (let pageToken = ""; ; ) {
      const page = await toy.service.index.compareCorpora({ ...request, minFirings: 3n, pageSize: 40, pageToken });
      found.push(...page.differences);
      if ((pageToken = page.nextPageToken) === "") break;
    }
    expect(found.map(({ feature }) => feature?.featureIndex)).toEqual(wanted.map(({ feature }) => feature));
    for (const [i, { x, y, logRatio, zScore }] of wanted.entries()) {
      const got = found[i] as (typeof found)[number];
      const pairs = [[got.fracNonzeroA, x.density], [got.fracNonzeroB, y.density], [got.meanActivationA, x.mean], [got.meanActivationB, y.mean], [got.logRatio, logRatio], [got.zScore, zScore]] as const;
      for (const [value, expected] of pairs) expect(value).toBeCloseTo(expected, 6);
      expect(got.feature?.fracNonzero).toBeCloseTo(x.density, 10);
    }
  });

  it("turns round with the corpora, and leaves rare features out", async () => {
    const { differences } = await toy.service.index.compareCorpora(request);
    const { differences: back } = await toy.service.index.compareCorpora({ ...request, corpusA: request.corpusB, corpusB: request.corpusA });
    expect(back.map(({ zScore }) => zScore)).toEqual(differences.map(({ zScore }) => expect.closeTo(-zScore, 10) as number));
    const { differences: frequent } = await toy.service.index.compareCorpora({ ...request, minFirings: 1_000_000n });
    expect(frequent).toEqual([]);
  });

  it.each([
    ["one corpus twice", { ...request, corpusB: "corpora/toy" }, Code.InvalidArgument],
    ["a corpus that was not indexed", { ...request, corpusB: "corpora/none" }, Code.NotFound],
    ["a name that is none", { ...request, corpusA: "toy" }, Code.InvalidArgument],
    ["another SAE", { ...request, sae: "models/toy/saes/none" }, Code.NotFound],
  ])("refuses %s", async (_, wrong, code) => {
    await expect(toy.service.index.compareCorpora(wrong)).rejects.toMatchObject({ code });
  });
});

describe("testFeature", () => {
  const text = (value: string) => ({ prompt: { case: "text", value } as const });

  it("gives a feature's activations on each text, those on special tokens left out", async () => {
    const texts = Array.from({ length: 64 }, (_, i) => `word${i} </s> other${i} word${i * 7} word1`);
    const { tests } = await toy.service.index.testFeature({ name: `${TOY.sae}/features/3`, prompts: texts.map(text) });
    for (const [i, test] of tests.entries()) {
      const ids = [TOY.bos, ...toyIds(texts[i] as string)];
      const wanted = ids.flatMap((id, position) => toyCode(id, ids[position - 1] ?? 0).filter(({ feature }) => feature === 3 && id >= 5).map(({ value }) => ({ position, value })));
      expect(test.tokens?.tokenIds).toEqual(ids);
      expect(test.tokens?.strTokens).toHaveLength(ids.length);
      expect(test.positions.map((position, at) => ({ position, value: test.values[at] }))).toEqual(wanted);
      expect(test.maxActivation).toBe(Math.max(0, ...wanted.map(({ value }) => value)));
    }
    expect(tests.some(({ positions }) => positions.length > 0) && tests.some(({ positions }) => positions.length === 0)).toBe(true);
  });

  it.each([
    ["no text", "3", [], Code.InvalidArgument],
    ["too many texts", "3", Array.from({ length: 65 }, () => text("word1")), Code.InvalidArgument],
    ["a feature that there is not", String(TOY.dSae), [text("word1")], Code.InvalidArgument],
  ] as const)("refuses %s", async (_, feature, prompts, code) => {
    await expect(toy.service.index.testFeature({ name: `${TOY.sae}/features/${feature}`, prompts: [...prompts] })).rejects.toMatchObject({ code });
  });

  it("says which text has no token", async () => {
    const empty = { prompt: { case: "text", value: "" } as const, prependBos: false };
    await expect(toy.service.index.testFeature({ name: `${TOY.sae}/features/3`, prompts: [text("word1"), empty] })).rejects.toMatchObject({ code: Code.InvalidArgument, message: expect.stringContaining("prompts[1]") as string });
  });
});
