import type { Window } from "../peer/tokens.ts";
import { firstLetter, wordsOfTokens } from "./words.ts";

/** No class: the token is no candidate. */
export const NONE = 0xffff_ffff;

/** Names that stand for their ordinals. */
export class Names {
  readonly #ordinals = new Map<string, number>();
  readonly names: string[] = [];

  ordinal(name: string): number {
    const known = this.#ordinals.get(name);
    if (known !== undefined) return known;
    this.#ordinals.set(name, this.names.length);
    return this.names.push(name) - 1;
  }
}

/** Names that train and test tokens share. */
export class ProbeNames {
  readonly words = new Names();
  readonly sources = new Names();
}

/** The tokens that were read of one side, special ones left out, with what labels are made of: about 40 bytes a token. */
export class TokenTable {
  readonly windows: Window[] = [];
  /** Of each token its window. */
  readonly window: number[] = [];
  /** Of each token its place in the window, BOS counted. */
  readonly at: number[] = [];
  /** The word that begins in the token, NONE where none does. */
  readonly startWord: number[] = [];
  /** The word that ends in the token. */
  readonly endWord: number[] = [];
  readonly source: number[] = [];
  /** Tokens of the window before it, BOS not counted. */
  readonly position: number[] = [];
  readonly #names: ProbeNames;

  constructor(names: ProbeNames) {
    this.#names = names;
  }

  get size(): number {
    return this.window.length;
  }

  /** Adds windows of one document until `most` tokens are held. */
  addDocument(windows: readonly Window[], strTokens: readonly string[], source: string, most: number): void {
    const words = wordsOfTokens(strTokens);
    const ordinal = (word: string | undefined): number => (word === undefined ? NONE : this.#names.words.ordinal(word));
    const sourceOrdinal = this.#names.sources.ordinal(source);
    for (const window of windows) {
      if (this.size >= most) return;
      const index = this.windows.push(window) - 1;
      for (let at = 0; at < window.ids.length; at += 1) {
        if (window.special[at] !== 0) continue;
        const token = window.position + at - window.bos;
        this.window.push(index);
        this.at.push(at);
        this.startWord.push(ordinal(words.starts[token]));
        this.endWord.push(ordinal(words.ends[token]));
        this.source.push(sourceOrdinal);
        this.position.push(at - window.bos);
      }
    }
  }

  /** Ordinals of the letters a (0) to z (25) by word; NONE where a word starts with none. */
  lettersOfWords(): Uint32Array {
    return Uint32Array.from(this.#names.words.names, (word) => {
      const letter = firstLetter(word);
      return letter === undefined ? NONE : letter.charCodeAt(0) - 97;
    });
  }
}
