import { create } from "@bufbuild/protobuf";
import { ActivationExampleSchema, FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { describe, expect, test } from "vitest";
import { contextPatterns } from "../src/local-summary/context-patterns.ts";
import { localSummary } from "../src/local-summary/local-summary.ts";
import { visibleToken } from "../src/token-text.ts";
import { fakeFeature } from "./fake-feature-index.ts";

function example(text: string, at: number) {
  const strTokens = text.split("|");
  return create(ActivationExampleSchema, { tokens: { strTokens, isSpecial: Uint8Array.of(strTokens[0] === "<s>" ? 1 : 0) }, qualifyingTokenIndex: at });
}

describe("the local summary", () => {
  test("names tokens with their share, what stands around them, promoted and suppressed tokens", () => {
    expect(localSummary(fakeFeature(0, true, true))).toBe(
      "fires on “king” 80%, “other” 20%; mostly in “the king and”; promotes “queen” “ish”; suppresses “zebra”",
    );
  });

  test("is the same for the same page, and merges forms that differ in their blank", () => {
    const page = create(FeatureSchema, { topTokens: [{ strToken: " Tom", sumActivation: 3 }, { strToken: "Tom", sumActivation: 3 }, { strToken: "\n", sumActivation: 2 }] });
    expect(localSummary(page)).toBe("fires on “Tom” 75%, “⏎” 25%");
    expect(localSummary(page)).toBe(localSummary(page));
  });

  test("claims nothing where nothing was counted", () => {
    expect(localSummary(create(FeatureSchema))).toBe("fires on no particular token");
  });
});

describe("context patterns", () => {
  test("find the longest run that recurs around the firing token", () => {
    const examples = [example("<s>|Once| upon| a| time|,", 3), example(" so|Once| upon| a| time| there", 3), example("Once| upon| a| time", 2)];
    expect(contextPatterns(examples)[0]).toMatchObject({ text: "Once upon a time", share: 1, position: "around" });
  });

  test("find what comes before firing tokens that vary", () => {
    const names = [" Lily", " Tom", " Ben", " Sue", " Max"];
    const patterns = contextPatterns(names.map((name, i) => example(` girl${i}| named|${name}| w${i}`, 2)));
    expect(patterns).toEqual([{ text: "named", share: 1, position: "after" }]);
  });

  test("leave out the firing token with mere punctuation, but not the word that it begins", () => {
    expect(contextPatterns([example(" water|.", 0), example(" water|.", 0), example(" water|.", 0)])).toEqual([]);
    expect(contextPatterns([example(" king|dom", 0), example(" king|dom", 0), example(" king|dom", 0)])[0]?.text).toBe("kingdom");
  });

  test("do not reach over special tokens and say nothing about three unlike examples", () => {
    expect(contextPatterns([example("<s>| a| b", 1), example("<s>| a| c", 1), example("<s>| a| d", 1)])).toEqual([]);
    expect(contextPatterns([])).toEqual([]);
  });
});

test("tokens of both vocabularies are shown alike", () => {
  expect(["▁king", "Ġking", " king", "\n", " ", "Ċ"].map(visibleToken)).toEqual(["king", "king", "king", "⏎", "␣", "⏎"]);
});
