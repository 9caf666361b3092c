import { describe, expect, it } from "vitest";
import { TextIndex } from "../../src/words/bm25.ts";
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

describe("TextIndex", () => {
  const texts = ["water and the sea", "the sea", "swimming in the sea", "cars", "sea"];
  const score = (index: TextIndex, ...stems: string[]) => {
    const found: [number, number][] = [];
    index.search(stems, (row, value) => found.push([row, value]));
    return found.sort((x, y) => y[1] - x[1]).map(([row]) => row);
  };

  it("ranks the rarer word and the shorter text higher", () => {
    const index = new TextIndex();
    for (const text of texts) index.add(text);
    expect(score(index, "swim", "sea")).toEqual([2, 4, 1, 0]);
    index.remove(4);
    expect(score(index, "sea")).toEqual([1, 0, 2]);
    expect(score(index, "zebra")).toEqual([]);
  });

  it("gives the score of the formula", () => {
    const index = new TextIndex();
    for (const text of texts.slice(0, 2)) index.add(text);
    const scores: number[] = [];
    index.search([stem("water")], (_, value) => scores.push(value));
    const idf = Math.log(1 + 1.5 / 1.5);
    expect(scores).toEqual([expect.closeTo((idf * 2.2) / (1 + 1.2 * (0.25 + (0.75 * 4) / 3)), 12)]);
  });
});
