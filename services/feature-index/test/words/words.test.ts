import { describe, expect, it } from "vitest";
import { bm25 } from "../../src/words/bm25.ts";
import { TokenWords } from "../../src/words/token-words.ts";
import { queryWords, stem, wordsOf } from "../../src/words/words.ts";

describe("words", () => {
  it("are found in any text", () => {
    expect(wordsOf("Lily's dog—Straße, 2 cats; don’t!")).toEqual(["lily", "dog", "straße", "2", "cats", "don’t"]);
    expect(queryWords("the King and the queen, king")).toEqual(["king", "queen"]);
    expect(queryWords("to be or")).toEqual(["to", "be", "or"]);
  });

  it.each([["swim", "swims"], ["swim", "swimming"], ["play", "played"], ["story", "stories"], ["box", "boxes"], ["make", "making"], ["king", "kings"], ["run", "runner"]])("%s and %s meet", (a, b) => {
    expect(stem(b)).toBe(stem(a));
  });

  it.each([["sea", "seat"], ["bus", "bu"], ["king", "k"], ["glass", "glas"]])("%s and %s do not", (a, b) => {
    expect(stem(a)).not.toBe(stem(b));
  });
});

describe("TokenWords", () => {
  const tokens = new TokenWords(["<s>", " swim", "Swim", " swimming", " sea", "sea", "s", " Scare", "crow", "!"]);

  it("finds the tokens that are a word, then those of its stem", () => {
    expect(tokens.of("swim")).toEqual([{ tokenId: 1, weight: 1 }, { tokenId: 2, weight: 1 }, { tokenId: 3, weight: 0.7 }]);
    expect(tokens.of("sea").map(({ tokenId }) => tokenId)).toEqual([4, 5]);
  });

  it("finds the beginning of a word of several tokens, and nothing for others", () => {
    expect(tokens.of("scarecrow")).toEqual([{ tokenId: 7, weight: 0.4 }]);
    expect(tokens.of("zebra")).toEqual([]);
  });
});

describe("bm25", () => {
  it("ranks the rarer word and the shorter text higher, and a key by its best text", () => {
    const texts = [
      { key: "a", text: "water and the sea" },
      { key: "b", text: "the sea" },
      { key: "c", text: "swimming in the sea" },
      { key: "d", text: "cars" },
      { key: "d", text: "sea" },
    ];
    const scores = bm25(["swim", "sea"], texts, { nTexts: 100, meanLength: 3 });
    expect([...scores].sort((x, y) => y[1] - x[1]).map(([key]) => key)).toEqual(["c", "d", "b", "a"]);
  });
});
