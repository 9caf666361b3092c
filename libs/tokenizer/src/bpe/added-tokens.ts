import type { AddedToken } from "./model.ts";
import { literalPattern } from "./pattern.ts";

/** A stretch of text, or the added token that stands there. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly id: number | undefined;
}

/** Finds added tokens in a text: the leftmost first, and of those that start at the same place the longest. */
export class AddedTokenFinder {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  readonly #pattern: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    const found = tokens.filter(({ content }) => content !== "");
    this.#tokens = new Map(found.map((token) => [token.content, token]));
    const contents = [...this.#tokens.keys()].toSorted((a, b) => b.length - a.length);
    this.#pattern = contents.length === 0 ? undefined : new RegExp(contents.map(literalPattern).join("|"), "gu");
  }

  /** The text from start to end, without empty stretches. */
  *split(text: string): Generator<Stretch> {
    let at = 0;
    if (this.#pattern !== undefined) {
      for (const found of text.matchAll(this.#pattern)) {
        const token = this.#tokens.get(found[0])!;
        let start = found.index;
        let end = start + found[0].length;
        if (start < at || (token.singleWord && (isWord(text, start - 1) || isWord(text, end)))) continue;
        if (token.lstrip) while (start > at && isSpace(text, start - 1)) start--;
        if (token.rstrip) while (end < text.length && isSpace(text, end)) end++;
        if (start > at) yield { start: at, end: start, id: undefined };
        yield { start, end, id: token.id };
        at = end;
      }
    }
    if (at < text.length) yield { start: at, end: text.length, id: undefined };
  }
}

function isSpace(text: string, at: number): boolean {
  return /\p{White_Space}/u.test(text[at] ?? "");
}

/** Whether the character that has a unit at this place is a part of words. */
function isWord(text: string, at: number): boolean {
  const start = /[\udc00-\udfff]/.test(text[at] ?? "") ? at - 1 : at;
  const point = start < 0 ? undefined : text.codePointAt(start);
  return point !== undefined && /[\p{L}\p{M}\p{N}\p{Pc}]/u.test(String.fromCodePoint(point));
}
