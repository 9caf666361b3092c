import type { Vocabulary } from "./vocabulary.ts";

/** A text as pieces with their place in it. */
export interface EncodedText {
  /** Token ids. */
  readonly ids: Uint32Array;
  /** [start, end) of each token in code points of the text, two entries a token; only when asked for. */
  readonly offsets: Uint32Array | undefined;
}

/**
 * The part of a tokenizer that differs by file format: text to ids, and what each id stands for. Everything else
 * (BOS, chat templates, detokenising) is built on it once, in Tokenizer.
 */
export interface TokenCodec {
  /** What each id stands for. */
  readonly vocabulary: Vocabulary;
  /** Spaces that encoding puts before a text and decoding takes away. */
  readonly leadingSpaces: number;
  /** Ids that the file wants before a text, BOS as a rule, and after it. */
  readonly frame: { readonly prefix: readonly number[]; readonly suffix: readonly number[] };
  /** The id of a special token by its text. */
  idOf(token: string): number | undefined;
  /** Encodes texts off the calling thread, without the frame. */
  encode(texts: readonly string[], options: { readonly offsets: boolean }): Promise<EncodedText[]>;
}
