import { stem, wordsOf } from "./words.ts";

/** A text to be ranked. */
export interface RankedText<Key> {
  readonly key: Key;
  readonly text: string;
}

/** Facts of all texts, those that match nothing included. */
export interface Collection {
  readonly nTexts: number;
  /** Mean words of a text. */
  readonly meanLength: number;
}

const K1 = 1.2;
const B = 0.75;

/**
 * Okapi BM25 of texts for words, by stem; texts must hold every text with any of the words. Keys with a score above 0;
 * a key with several texts has its best one's. Robertson & Zaragoza, The Probabilistic Relevance Framework (2009), eq. 3.15.
 */
export function bm25<Key>(words: readonly string[], texts: Iterable<RankedText<Key>>, { nTexts, meanLength }: Collection): Map<Key, number> {
  const stems = [...new Set(words.map(stem))];
  const counted = Array.from(texts, ({ key, text }) => {
    const found = wordsOf(text).map(stem);
    return { key, length: found.length, counts: stems.map((wanted) => found.filter((word) => word === wanted).length) };
  });
  const idf = stems.map((_, i) => {
    const holding = counted.filter(({ counts }) => (counts[i] as number) > 0).length;
    return Math.log(1 + (nTexts - holding + 0.5) / (holding + 0.5));
  });
  const scores = new Map<Key, number>();
  for (const { key, length, counts } of counted) {
    const norm = K1 * (1 - B + (B * length) / Math.max(1, meanLength));
    const score = counts.reduce((sum, count, i) => sum + ((idf[i] as number) * count * (K1 + 1)) / (count + norm), 0);
    if (score > (scores.get(key) ?? 0)) scores.set(key, score);
  }
  return scores;
}
