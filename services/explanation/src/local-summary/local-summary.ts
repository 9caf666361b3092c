import type { Feature, FeatureLogit } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { visibleToken } from "../token-text.ts";
import { contextPatterns } from "./context-patterns.ts";

const tokensNamed = 6;
const logitsNamed = 4;
/** A token with less than this share of the feature's activation is left unnamed, unless it leads. */
const leastShare = 0.03;

/**
 * A sentence on what a feature does, from the index alone: the tokens it fires on with their share of its
 * activation, what stands around them, and the tokens that its decoder row promotes and suppresses. The same page
 * gives the same sentence. No language model is asked, and nothing is claimed beyond what was counted.
 */
export function localSummary(feature: Feature): string {
  const parts = [firesOn(feature)];
  const phrases = contextPatterns(feature.examples).map(({ text, share, position }) => {
    const often = share >= 0.6 ? "mostly" : "often";
    return position === "around" ? `${often} in “${text}”` : `${often} after “${text}”`;
  });
  if (phrases.length > 0) parts.push(phrases.join(", "));
  const promoted = names(feature.posLogits);
  if (promoted !== "") parts.push(`promotes ${promoted}`);
  const suppressed = names(feature.negLogits);
  if (suppressed !== "") parts.push(`suppresses ${suppressed}`);
  return parts.join("; ");
}

function firesOn(feature: Feature): string {
  const shares = new Map<string, number>();
  let total = 0;
  for (const { strToken, sumActivation } of feature.topTokens) {
    const name = visibleToken(strToken);
    shares.set(name, (shares.get(name) ?? 0) + sumActivation);
    total += sumActivation;
  }
  const ordered = [...shares].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  if (total <= 0 || ordered.length === 0) return "fires on no particular token";
  const named = ordered.slice(0, tokensNamed).filter(([, sum], i) => i === 0 || sum >= leastShare * total);
  return `fires on ${named.map(([name, sum]) => `“${name}” ${Math.round((100 * sum) / total)}%`).join(", ")}`;
}

function names(logits: readonly FeatureLogit[]): string {
  const seen = new Set<string>();
  for (const { strToken } of logits) {
    if (seen.size === logitsNamed) break;
    seen.add(`“${visibleToken(strToken)}”`);
  }
  return [...seen].join(" ");
}
