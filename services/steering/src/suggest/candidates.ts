import type { Feature } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { conceptWords, countConcept, wordOf } from "./concept.ts";
import type { SuggestSettings } from "./suggest-settings.ts";

/** A feature that may steer, with its concept fixed. */
export interface Candidate {
  readonly featureIndex: number;
  readonly description: string;
  readonly concept: readonly string[];
}

/** Concepts with fewer words are no concepts. */
const fewestWords = 2;
/** Of the words of the baseline texts, a concept may have this share at most: commoner ones cannot rise fivefold. */
const mostCommon = 0.02;

/** A feature as a candidate; undefined where its tokens make no concept. */
export function candidateOf(feature: Feature): Candidate | undefined {
  const concept = conceptWords(feature.topTokens);
  if (concept.length < fewestWords) return undefined;
  return { featureIndex: feature.featureIndex, description: feature.explanations[0]?.description ?? "", concept };
}

/**
 * The most promising features, best first, from what the index says: alive, not dense, with a concept that is rare in
 * the baseline texts. They are ranked by how far the tokens that the decoder row promotes are those the feature fires
 * on, then by how much of the activation lies on the concept's words.
 */
export function rankCandidates(features: readonly Feature[], baselineTexts: readonly string[], settings: SuggestSettings): Candidate[] {
  const ranked: { readonly candidate: Candidate; readonly score: number }[] = [];
  for (const feature of features) {
    if (feature.dead || Number(feature.nFirings) < settings.leastFirings || feature.fracNonzero > settings.mostDense) continue;
    const candidate = candidateOf(feature);
    if (candidate === undefined) continue;
    const { n, total } = countConcept(baselineTexts, new Set(candidate.concept));
    if (n > mostCommon * total) continue;
    ranked.push({ candidate, score: agreement(feature, candidate.concept) + 0.5 * wordShare(feature) });
  }
  ranked.sort((a, b) => b.score - a.score || a.candidate.featureIndex - b.candidate.featureIndex);
  return ranked.slice(0, settings.maxCandidates).map(({ candidate }) => candidate);
}

/** Share of the promoted tokens' weight, 1 for the first and falling as 1 / rank, on words of the concept. */
function agreement({ posLogits }: Feature, concept: readonly string[]): number {
  let on = 0;
  let all = 0;
  posLogits.slice(0, 10).forEach(({ strToken }, rank) => {
    const weight = 1 / (rank + 1);
    all += weight;
    const word = wordOf(strToken);
    if (word !== undefined && concept.some((known) => related(word, known))) on += weight;
  });
  return all === 0 ? 0 : on / all;
}

/** Equal, or forms of one word: one begins with the other. */
function related(a: string, b: string): boolean {
  return a === b || (Math.min(a.length, b.length) >= 4 && (a.startsWith(b) || b.startsWith(a)));
}

/** Share of the activation over the strongest tokens that lies on words. */
function wordShare({ topTokens }: Feature): number {
  let on = 0;
  let all = 0;
  for (const { strToken, sumActivation } of topTokens) {
    all += sumActivation;
    if (wordOf(strToken) !== undefined) on += sumActivation;
  }
  return all === 0 ? 0 : on / all;
}
