import type { Vocabulary } from "./vocabulary.ts";

/**
 * Turns ids into text one at a time. A piece of text leaves only when its characters are complete, so that every delta
 * is valid UTF-8, and the deltas joined are the text of all ids decoded at once.
 */
export class Detokenizer {
  readonly #vocabulary: Vocabulary;
  readonly #skipSpecial: boolean;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #spacesToDrop: number;

  /** `leadingSpaces`: spaces that the tokenizer put before the text and that are taken away again; 0 in a continuation. */
  constructor(vocabulary: Vocabulary, leadingSpaces: number, skipSpecial: boolean) {
    this.#vocabulary = vocabulary;
    this.#spacesToDrop = leadingSpaces;
    this.#skipSpecial = skipSpecial;
  }

  /** The text that became complete with this token; often empty inside a character of several tokens. */
  push(id: number): string {
    if (this.#skipSpecial && this.#vocabulary.isSpecial(id)) return "";
    let bytes = this.#vocabulary.bytesOf(id);
    while (this.#spacesToDrop > 0 && bytes.length > 0) {
      if (bytes[0] !== 0x20) {
        this.#spacesToDrop = 0;
        break;
      }
      bytes = bytes.subarray(1);
      this.#spacesToDrop -= 1;
    }
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What is left of an unfinished character, as U+FFFD. Nothing may be pushed after it. */
  end(): string {
    return this.#decoder.decode();
  }
}
