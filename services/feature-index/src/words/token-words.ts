import { stem } from "./words.ts";

/** A token that stands for a word, and how well, up to 1. */
export interface WordToken {
  readonly tokenId: number;
  readonly weight: number;
}

const WHOLE = 1;
const SAME_STEM = 0.7;
const BEGINNING = 0.4;
// A shorter beginning says nothing of the word.
const LEAST_BEGINNING = 3;

/** Finds the tokens of a vocabulary that stand for words. */
export class TokenWords {
  readonly #whole = new Map<string, number[]>();
  readonly #stems = new Map<string, number[]>();
  /** Tokens that begin a word: with a space before them. */
  readonly #beginnings = new Map<string, number[]>();

  /** `texts`: text of each token by id. */
  constructor(texts: readonly string[]) {
    for (const [tokenId, text] of texts.entries()) {
      const word = text.trim().toLowerCase();
      if (!/^[\p{L}\p{N}]+$/u.test(word)) continue;
      put(this.#whole, word, tokenId);
      put(this.#stems, stem(word), tokenId);
      if (/^\s/u.test(text)) put(this.#beginnings, word, tokenId);
    }
  }

  /** Tokens that are the word, then those of the same stem, then, for a word of several tokens, its longest beginning. */
  of(word: string): WordToken[] {
    const found = new Map<number, number>();
    const add = (ids: readonly number[] | undefined, weight: number) => {
      for (const id of ids ?? []) if (!found.has(id)) found.set(id, weight);
    };
    add(this.#whole.get(word), WHOLE);
    add(this.#stems.get(stem(word)), SAME_STEM);
    if (!this.#whole.has(word)) {
      let length = word.length - 1;
      while (length >= LEAST_BEGINNING && !this.#beginnings.has(word.slice(0, length))) length -= 1;
      if (length >= LEAST_BEGINNING) add(this.#beginnings.get(word.slice(0, length)), BEGINNING);
    }
    return [...found].map(([tokenId, weight]) => ({ tokenId, weight }));
  }
}

function put(map: Map<string, number[]>, key: string, id: number): void {
  const ids = map.get(key);
  if (ids === undefined) map.set(key, [id]);
  else ids.push(id);
}
