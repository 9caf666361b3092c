import { create } from "@bufbuild/protobuf";
import { FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { describe, expect, test } from "vitest";
import { rankCandidates } from "../src/suggest/candidates.ts";
import { conceptWords, countConcept, liftOf, smoothedRate, wordsOf } from "../src/suggest/concept.ts";
import { bestStrength, judge, typicalSample } from "../src/suggest/judge.ts";
import type { MeasuredText } from "../src/suggest/measure.ts";
import { suggestDefaults } from "../src/suggest/suggest-settings.ts";

const token = (strToken: string, sumActivation: number, tokenId = 0) => ({ strToken, sumActivation, tokenId });
const written = (text: string, nll = 1): MeasuredText => ({ text, nllSum: 10 * nll, nllTokens: 10, appliedSteps: 9, expectedSteps: 9, deltaNorm: 3 });

describe("a concept", () => {
  test("is the ten strongest tokens as words, the strongest first, without what is no word", () => {
    const tokens = [token(" Sea", 5), token("▁swim", 9), token(".", 8), token(" a", 7), token("sea", 6), token("Ġfish", 4), token(" don't", 3)];
    const page = create(FeatureSchema, { topTokens: tokens });
    expect(conceptWords(page.topTokens)).toEqual(["swim", "sea", "fish"]);
  });

  test("takes nothing from beyond the tenth token", () => {
    const page = create(FeatureSchema, { topTokens: Array.from({ length: 12 }, (_, i) => token(i < 9 ? "." : ` word${"abc"[i - 9]}`, 100 - i, i)) });
    expect(conceptWords(page.topTokens)).toEqual(["worda"]);
  });

  test("is counted in whole words, whatever their case", () => {
    expect(wordsOf("The sea—Sea! season 3x déjà")).toEqual(["the", "sea", "sea", "season", "x", "déjà"]);
    expect(countConcept(["The sea.", "Sea season"], new Set(["sea"]))).toEqual({ n: 2, total: 4 });
  });

  test("rises by the ratio of (n + 1) / (N + 100)", () => {
    expect(smoothedRate({ n: 4, total: 900 })).toBe(0.005);
    expect(liftOf({ n: 0, total: 900 }, { n: 9, total: 900 })).toBeCloseTo(10, 12);
    expect(liftOf({ n: 0, total: 0 }, { n: 0, total: 0 })).toBe(1);
  });
});

describe("candidates", () => {
  const feature = (featureIndex: number, fields: object) =>
    create(FeatureSchema, {
      featureIndex,
      nFirings: 100n,
      fracNonzero: 0.001,
      topTokens: [token(" king", 9, 1), token(" queen", 5, 2)],
      posLogits: [{ strToken: " table", logit: 1 }],
      ...fields,
    });

  test("are alive, not dense, and have a concept that is rare in the baseline", () => {
    const features = [
      feature(0, {}),
      feature(1, { dead: true }),
      feature(2, { fracNonzero: 0.5 }),
      feature(3, { nFirings: 3n }),
      feature(4, { topTokens: [token(".", 9), token(" x", 3)] }),
      feature(5, { topTokens: [token(" the", 9, 3), token(" and", 5, 4)] }),
    ];
    const ranked = rankCandidates(features, ["the cat and the dog"], suggestDefaults);
    expect(ranked.map(({ featureIndex }) => featureIndex)).toEqual([0]);
  });

  test("that promote their own tokens come first, then those that fire on words, then the lower row", () => {
    const features = [
      feature(3, {}),
      feature(2, {}),
      feature(1, { topTokens: [token(" king", 9, 1), token(" queen", 5, 2), token(".", 60, 3)] }),
      feature(0, { posLogits: [{ strToken: " table", logit: 3 }, { strToken: " kings", logit: 1 }] }),
    ];
    expect(rankCandidates(features, [""], suggestDefaults).map(({ featureIndex }) => featureIndex)).toEqual([0, 2, 3, 1]);
    expect(rankCandidates(features, [""], { ...suggestDefaults, maxCandidates: 2 })).toHaveLength(2);
  });
});

describe("judging", () => {
  const baseline = [written("a b c d"), written("e f g h")];
  const limits = { leastLift: 5, mostNllRise: 1 };

  test("wants both the lift and the likelihood", () => {
    const king = "king ".repeat(20);
    expect(judge(0.4, ["king"], baseline, [written(king, 1.9), written(king, 1.9)], limits)).toMatchObject({ passes: true, comfortable: false });
    expect(judge(0.4, ["king"], baseline, [written(king, 1.5), written(king, 1.5)], limits)).toMatchObject({ passes: true, comfortable: true });
    expect(judge(0.5, ["king"], baseline, [written(king, 2.1), written(king, 2.1)], limits)).toMatchObject({ passes: false });
    expect(judge(0.3, ["king"], baseline, [written("king a b c"), written("a b c d")], limits)).toMatchObject({ passes: false, count: { n: 1, total: 8 } });
  });

  test("of texts without tokens never passes", () => {
    const empty = { ...written("king king king king king king king"), nllSum: 0, nllTokens: 0 };
    expect(judge(0.3, ["king"], baseline, [empty], limits).passes).toBe(false);
  });

  test("prefers the largest lift with room to spare over a larger one at the limit", () => {
    const result = (strength: number, lift: number, passes: boolean, comfortable: boolean) => ({ strength, lift, passes, comfortable, nll: 1, count: { n: 0, total: 0 } });
    expect(bestStrength([result(0.3, 12, true, true), result(0.4, 20, true, true), result(0.5, 90, true, false)])?.strength).toBe(0.4);
    expect(bestStrength([result(0.3, 6, true, false), result(0.4, 9, true, false), result(0.5, 90, false, false)])?.strength).toBe(0.4);
    expect(bestStrength([result(0.3, 2, false, false)])).toBeUndefined();
  });

  test("shows a text in the middle, not the best one", () => {
    const texts = ["king king king", "none", "king", "king king", "king"].map((text) => written(text));
    expect(typicalSample(["king"], texts)).toBe(2);
  });
});
