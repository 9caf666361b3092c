import { describe, expect, it } from "vitest";
import { AddedTokenFinder } from "../../src/bpe/added-tokens.ts";
import type { AddedToken } from "../../src/bpe/model.ts";

const token = (id: number, content: string, options: Partial<AddedToken> = {}): AddedToken => ({ id, content, special: true, singleWord: false, lstrip: false, rstrip: false, normalized: false, ...options });
const parts = (tokens: AddedToken[], text: string) => Array.from(new AddedTokenFinder(tokens).split(text), ({ start, end, id }) => (id === undefined ? text.slice(start, end) : id));

describe("finding added tokens", () => {
  it("takes the leftmost, and of those the longest", () => {
    expect(parts([token(1, "<a>"), token(2, "<a><b>"), token(3, "<b>")], "x<a><b><b>y<a>")).toEqual(["x", 2, 3, "y", 1]);
  });

  it("takes white space along where the token says so", () => {
    expect(parts([token(1, "<l>", { lstrip: true }), token(2, "<r>", { rstrip: true })], "a \n<l> b<r>\t c")).toEqual(["a", 1, " b", 2, "c"]);
  });

  it("finds a single word only between other characters, those outside the basic plane too", () => {
    expect(parts([token(1, "fish", { singleWord: true })], "fish fishy \u{1d6da}fish fish\u{1d6da} fish-fish")).toEqual([1, " fishy \u{1d6da}fish fish\u{1d6da} ", 1, "-", 1]);
  });
});
