import { describe, expect, it } from "vitest";
import type { SplitStep } from "../../src/bpe/model.ts";
import { Splitter } from "../../src/bpe/splitter.ts";

const words = (steps: SplitStep[], text: string, first = true) => Array.from(new Splitter(steps).split(text, first), (word) => word.text);
const dash = (behavior: "Isolated" | "Removed" | "MergedWithPrevious" | "MergedWithNext", invert = false): SplitStep => ({ kind: "pattern", source: "-", behavior, invert });

describe("cutting words", () => {
  it.each([
    ["Isolated", ["the", "-", "final", "-", "-", "countdown"]],
    ["Removed", ["the", "final", "countdown"]],
    ["MergedWithPrevious", ["the-", "final-", "-", "countdown"]],
    ["MergedWithNext", ["the", "-final", "-", "-countdown"]],
  ] as const)("by a pattern that is %s", (behavior, wanted) => {
    expect(words([dash(behavior)], "the-final--countdown")).toEqual(wanted);
  });

  it("keeps only the matches of a pattern whose gaps are removed", () => {
    expect(words([dash("Removed", true)], "a-b--")).toEqual(["-", "-", "-"]);
  });

  it("at marks that follow another character", () => {
    expect(words([{ kind: "marked", mark: "\u2581" }], "\u2581\u2581a\u2581bc\u2581\u2581")).toEqual(["\u2581\u2581a", "\u2581bc", "\u2581\u2581"]);
  });

  it("with a prefix at the start of the text alone where asked for", () => {
    const prefix: SplitStep = { kind: "prefix", text: "_", onlyFirst: true };
    expect([words([prefix], "a"), words([prefix], "_a"), words([prefix], "a", false)]).toEqual([["_a"], ["_a"], ["a"]]);
  });
});
