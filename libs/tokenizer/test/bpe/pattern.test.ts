import { describe, expect, it } from "vitest";
import { literalPattern, translatePattern } from "../../src/bpe/pattern.ts";

const place = { file: "tokenizer.json", field: "pre_tokenizer.pattern.Regex" };
const matches = (source: string, text: string) => text.match(new RegExp(translatePattern(source, place), "gu"));

describe("a pattern of another engine", () => {
  it.each([
    ["white space is Unicode's: U+0085 and not U+FEFF", String.raw`\s+`, "a\u0085\u3000b\ufeffc", ["\u0085\u3000"]],
    ["what is no white space", String.raw`\S`, "\u0085\ufeff", ["\ufeff"]],
    ["digits and letters of every script", String.raw`\d+|\w+`, "٣٤ ñb_", ["٣٤", "ñb_"]],
    ["a dot is all but a line feed", ".+", "a\r\u2028b\nc", ["a\r\u2028b", "c"]],
    ["groups regardless of case", "(?i:'s|'ll)", "I'LL it's", ["'LL", "'s"]],
    ["classes with escapes of their own", String.raw`[!"#\-\\\]_]+`, String.raw`a-\]!b`, [String.raw`-\]!`]],
    ["scripts by their name", String.raw`\p{Han}+|\P{Han}`, "漢字a", ["漢字", "a"]],
    ["code points", String.raw`[\x{4e00}-\x{9fff}]|\x41`, "漢A", ["漢", "A"]],
  ])("keeps its meaning: %s", (_, source, text, wanted) => {
    expect(matches(source, text)).toEqual(wanted);
  });

  it.each([
    ["(a+)+", "repeats a group that repeats"],
    ["(?:a|b*)*", "repeats a group that repeats"],
    ["(?:x(?:a+))*", "repeats a group that repeats"],
    ["a++", "possessive"],
    ["", "is empty"],
    ["(a", "open group"],
    ["a)", "not open"],
    ["[a", "open class"],
    ["[[:alpha:]]", "class in a class"],
    ["[a&&b]", "intersection"],
    [String.raw`\p{Nope}`, "unknown property Nope"],
    [String.raw`\1`, "unknown escape"],
    ["(?<x>a)", "unknown group"],
    ["a{", "no quantifier"],
    ["^a", "depends on the program"],
    ["*", "cannot be read"],
  ])("is refused: %s", (source, message) => {
    expect(() => translatePattern(source, place)).toThrow(message);
    expect(() => translatePattern(source, place)).toThrow(place.field);
  });

  it("is what a text matches literally", () => {
    expect("a[INST].b".match(new RegExp(literalPattern("[INST]."), "u"))?.[0]).toBe("[INST].");
  });
});
