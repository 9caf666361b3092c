import type { TokenStat } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";

/** Concept words and words counted in texts. */
export interface Count {
  /** Concept words. */
  readonly n: number;
  /** Words. */
  readonly total: number;
}

const strongestTokens = 10;
const wordPattern = /^\p{L}{3,}$/u;

/**
 * The concept of a feature: its ten strongest tokens as words, in the order of their strength. Letters only, lower
 * case, at least three of them, each once; what is no word is left out and nothing takes its place.
 */
export function conceptWords(topTokens: readonly TokenStat[]): string[] {
  const strongest = topTokens.toSorted((a, b) => b.sumActivation - a.sumActivation || a.tokenId - b.tokenId).slice(0, strongestTokens);
  const words = new Set<string>();
  for (const { strToken } of strongest) {
    const word = wordOf(strToken);
    if (word !== undefined) words.add(word);
  }
  return [...words];
}

/** A token as a word: undefined where it is none. */
export function wordOf(strToken: string): string | undefined {
  const text = strToken.replace(/^[\s▁Ġ]+/u, "").toLowerCase();
  return wordPattern.test(text) ? text : undefined;
}

/** The words of a text: runs of letters, lower case. */
export function wordsOf(text: string): string[] {
  return text.toLowerCase().match(/\p{L}+/gu) ?? [];
}

/** Counts the words of texts, and those among them that belong to the concept. */
export function countConcept(texts: readonly string[], concept: ReadonlySet<string>): Count {
  let n = 0;
  let total = 0;
  for (const text of texts) {
    for (const word of wordsOf(text)) {
      total += 1;
      if (concept.has(word)) n += 1;
    }
  }
  return { n, total };
}

/** (n + 1) / (N + 100): a rate that neither a missing word nor a short text makes extreme. */
export function smoothedRate({ n, total }: Count): number {
  return (n + 1) / (total + 100);
}

/** How much more often concept words come. */
export function liftOf(baseline: Count, steered: Count): number {
  return smoothedRate(steered) / smoothedRate(baseline);
}
