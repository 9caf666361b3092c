import { Growing } from "../blocks/growing.ts";
import type { SparseMatrix } from "./subspace.ts";

/** What is known of a feature's tokens. */
export interface FeatureTokens {
  /** Firings that were counted. */
  readonly nFirings: number;
  /** Tokens that it fires on, and how often. */
  readonly fired: Uint32Array;
  readonly firedN: Uint32Array;
  /** Tokens that it promotes, and by how much. */
  readonly promoted: Uint32Array;
  readonly logits: Float32Array;
}

/** Features by tokens, [features, tokens that any of them has]. */
export interface TokenMatrix extends SparseMatrix {
  /** Token of each column. */
  readonly tokens: Uint32Array;
}

/**
 * The weight of each token for each feature: its positive pointwise mutual information with the feature's firings, and its logit
 * against the feature's highest times how few features promote it, log(features / those that do), each side scaled to length 1.
 * PPMI over a shared vocabulary: Levy, Goldberg & Dagan, Improving Distributional Similarity (2015), section 2.
 */
export function tokenMatrix(features: readonly FeatureTokens[], occurrences: ReadonlyMap<number, number>): TokenMatrix {
  let total = 0;
  for (const n of occurrences.values()) total += n;
  const promoters = new Map<number, number>();
  for (const { promoted } of features) for (const token of promoted) promoters.set(token, (promoters.get(token) ?? 0) + 1);
  const columns = new Map<number, number>();
  const column = new Growing((length) => new Uint32Array(length));
  const value = new Growing((length) => new Float32Array(length));
  const from = new Uint32Array(features.length + 1);
  for (const [row, { nFirings, fired, firedN, promoted, logits }] of features.entries()) {
    const weights = new Map<number, number>();
    addUnit(weights, fired, (i, token) => Math.log(((firedN[i] as number) * total) / (nFirings * (occurrences.get(token) ?? Number.POSITIVE_INFINITY))));
    const highest = logits.reduce((most, logit) => Math.max(most, logit), 0);
    addUnit(weights, promoted, (i, token) => ((logits[i] as number) / highest) * Math.log(features.length / (promoters.get(token) as number)));
    for (const [token, weight] of weights) {
      let at = columns.get(token);
      if (at === undefined) columns.set(token, (at = columns.size));
      column.push(at);
      value.push(weight);
    }
    from[row + 1] = column.length;
  }
  return { rows: features.length, columns: columns.size, from, column: column.view(), value: value.view(), tokens: Uint32Array.from(columns.keys()) };
}

/** Adds the positive ones of these weights, scaled to length 1. */
function addUnit(weights: Map<number, number>, tokens: Uint32Array, weigh: (i: number, token: number) => number): void {
  const raw = Array.from(tokens, (token, i) => {
    const weight = weigh(i, token);
    return weight > 0 && Number.isFinite(weight) ? weight : 0;
  });
  const norm = Math.hypot(...raw);
  for (const [i, token] of tokens.entries()) {
    const weight = raw[i] as number;
    if (weight > 0) weights.set(token, (weights.get(token) ?? 0) + weight / norm);
  }
}
