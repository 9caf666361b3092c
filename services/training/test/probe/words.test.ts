import { describe, expect, it } from "vitest";
import { firstLetter, wordsOfTokens } from "../../src/probe/words.ts";

describe("wordsOfTokens", () => {
  it("finds where words begin and end, whatever pieces they are cut into", () => {
    const tokens = ["The", " dr", "ag", "on", " said", ",", " \"", "Don", "'", "t", "!\"", " 7", "th"];
    const { starts, ends } = wordsOfTokens(tokens);
    expect(starts).toEqual(["the", "dragon", undefined, undefined, "said", undefined, undefined, "don't", undefined, undefined, undefined, undefined, "th"]);
    expect(ends).toEqual(["the", undefined, undefined, "dragon", "said", undefined, undefined, undefined, undefined, "don't", undefined, undefined, "th"]);
  });

  it("does not take the bytes of a character for letters", () => {
    const { starts } = wordsOfTokens(["a", "<0xE2>", "<0x80>", "b"]);
    expect(starts).toEqual(["a", undefined, undefined, "b"]);
  });

  it("takes the first of two words that begin in a token, and the last of two that end in it", () => {
    expect(wordsOfTokens(["of the"])).toEqual({ starts: ["of"], ends: ["the"] });
    expect(wordsOfTokens([])).toEqual({ starts: [], ends: [] });
  });

  it("reads letters of any script", () => {
    expect(wordsOfTokens([" Éc", "ole", " дом"]).ends).toEqual([undefined, "école", "дом"]);
    expect([firstLetter("école"), firstLetter("zoo"), firstLetter("дом")]).toEqual(["e", "z", undefined]);
  });
});
