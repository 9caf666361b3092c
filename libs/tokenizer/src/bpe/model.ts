/** A token that is cut out of a text before anything else is done to it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** BOS, EOS and other tokens that steer the model and are no text. */
  readonly special: boolean;
  /** Only where no word character stands on either side. */
  readonly singleWord: boolean;
  /** Takes the white space before it along. */
  readonly lstrip: boolean;
  /** Takes the white space after it along. */
  readonly rstrip: boolean;
  /** Looked for after the normalizer and not before. */
  readonly normalized: boolean;
}

/** What is done to a stretch of text between added tokens. */
export type NormalizerStep =
  | { readonly kind: "prepend"; readonly text: string }
  | { readonly kind: "replace"; readonly from: string; readonly to: string }
  | { readonly kind: "unicode"; readonly form: "NFC" | "NFD" | "NFKC" | "NFKD" }
  /** SentencePiece's remove_extra_whitespaces: none at either end, and no two in a row. */
  | { readonly kind: "squeeze" };

/** What becomes of the text that a pattern matches: a word of its own, nothing, or a part of its neighbour. */
export type SplitBehavior = "Isolated" | "Removed" | "MergedWithPrevious" | "MergedWithNext";

/** How a stretch of text becomes words, across which nothing merges. */
export type SplitStep =
  /** `source` is a JavaScript pattern for the flag u; `invert` turns matches into gaps and gaps into matches. */
  | { readonly kind: "pattern"; readonly source: string; readonly behavior: SplitBehavior; readonly invert: boolean }
  /** Puts `text` before a stretch that does not start with it; with `onlyFirst` only at the start of the whole text. */
  | { readonly kind: "prefix"; readonly text: string; readonly onlyFirst: boolean }
  | { readonly kind: "replace"; readonly from: string; readonly to: string }
  /** Cuts where a mark follows another character: each word is marks and then what is none. */
  | { readonly kind: "marked"; readonly mark: string };

/** What a word is made of before the first merge. */
export type Symbols =
  /** UTF-8 bytes; `ids` has 256 entries, -1 where the vocabulary lacks the byte. */
  | { readonly kind: "bytes"; readonly ids: Int32Array }
  /**
   * Code points. `fallback` has 256 entries: the tokens of the bytes of characters that are no token, -1 where there
   * is none.
   */
  | { readonly kind: "characters"; readonly ids: ReadonlyMap<number, number>; readonly fallback: Int32Array | undefined };

/**
 * A byte-pair tokenizer of any file format, as plain data that threads can share: text is cut at its added tokens,
 * normalised, split into words, and each word is merged from its symbols.
 */
export interface BpeModel {
  readonly added: readonly AddedToken[];
  readonly normalizer: readonly NormalizerStep[];
  readonly splits: readonly SplitStep[];
  readonly symbols: Symbols;
  /** PairTable.entries. */
  readonly pairs: Int32Array;
  /** Words that are one token although merging does not lead to it. */
  readonly whole: ReadonlyMap<string, number>;
  /** Stands for symbols that have no token. */
  readonly unknown: number | undefined;
  /** Whether neighbouring unknown symbols become one token. */
  readonly fuseUnknown: boolean;
}
