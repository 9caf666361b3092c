/** Words of a document by token: where each begins and ends. */
export interface TokenWords {
  /** [tokens] the word that begins in the token, lower case; undefined where none does. */
  readonly starts: readonly (string | undefined)[];
  /** [tokens] the word whose last letter lies in the token. */
  readonly ends: readonly (string | undefined)[];
}

/** Letters with their marks, and with apostrophes and hyphens between letters. */
const WORD = /\p{L}[\p{L}\p{M}]*(?:['’-]\p{L}[\p{L}\p{M}]*)*/gu;
/** A byte that is no whole character, as tokenizers show it: no letter of a word. */
const BYTE = /^<0x[0-9A-Fa-f]{2}>$/;

/** Finds the words of a document in the strings of its tokens: the document's text is their concatenation. */
export function wordsOfTokens(strTokens: readonly string[]): TokenWords {
  const shown = strTokens.map((text) => (BYTE.test(text) ? "\uFFFD" : text));
  const starts: (string | undefined)[] = shown.map(() => undefined);
  const ends = [...starts];
  let token = 0;
  let tokenEnd = shown[0]?.length ?? 0;
  const tokenAt = (character: number): number => {
    while (character >= tokenEnd && token + 1 < shown.length) {
      token += 1;
      tokenEnd += shown[token]?.length ?? 0;
    }
    return token;
  };
  for (const { 0: word, index } of shown.join("").matchAll(WORD)) {
    const lower = word.toLowerCase();
    starts[tokenAt(index)] ??= lower;
    ends[tokenAt(index + word.length - 1)] = lower;
  }
  return { starts, ends };
}

/** The letter a to z that a word starts with, accents left out; undefined for other scripts. */
export function firstLetter(word: string): string | undefined {
  const letter = word.normalize("NFD")[0] ?? "";
  return letter >= "a" && letter <= "z" ? letter : undefined;
}
