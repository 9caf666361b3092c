import type { ClickHouse } from "@mistral-sae/clickhouse";
import { T } from "../store/tables.ts";
import type { WordToken } from "../words/token-words.ts";
import type { SearchState } from "./search-state.ts";

/** One thread, and what was decompressed is kept: a few granules are read. */
const POINT_READ = { max_threads: 1, use_uncompressed_cache: 1 } as const;

/** What each kind of evidence is worth at its best. */
const WORTH = { explanation: 1, fires: 1, promotes: 0.5 } as const;

/** Values of features, by token. */
type ByToken<Row> = ReadonlyMap<number, readonly Row[]>;

/** What a token says of a feature. */
interface Fired {
  readonly feature: number;
  readonly pmi: number;
  readonly strength: number;
}

interface Promoted {
  readonly feature: number;
  readonly logit: number;
}

/**
 * Adds to `scores` [features] what the words of a query say: where they stand in a feature's explanations (BM25, against the best
 * match), among the tokens that it fires on, and among those that it promotes (the logit against its highest).
 *
 * Firing on a word is worth the mean activation over all occurrences of its tokens against the feature's largest, times how telling
 * each token is: the pointwise mutual information of the two against the most it could be. Its square root is added up, so that a
 * feature of both words comes before one of either.
 */
export async function wordScores(clickhouse: ClickHouse, state: SearchState, indexId: number, stems: readonly string[], tokensOf: readonly (readonly WordToken[])[], scores: Float64Array): Promise<void> {
  const tokens = [...new Set(tokensOf.flat().map(({ tokenId }) => tokenId))];
  const [fired, promoted] = await Promise.all([readFired(clickhouse, indexId, tokens), readPromoted(clickhouse, indexId, tokens)]);

  let best = 0;
  const explained = new Map<number, number>();
  state.explanations.byWords(stems, (feature, score) => {
    explained.set(feature, Math.max(score, explained.get(feature) ?? 0));
    best = Math.max(best, score);
  });
  for (const [feature, score] of explained) scores[feature]! += (WORTH.explanation * score) / best;

  for (const word of tokensOf) {
    const share = WORTH.fires / tokensOf.length;
    for (const [feature, value] of firings(state, word, fired)) scores[feature]! += share * Math.sqrt(value);
    const highest = new Map<number, number>();
    for (const { tokenId, weight } of word) {
      for (const { feature, logit } of promoted.get(tokenId) ?? []) {
        const against = (weight * logit) / Math.max(state.highestLogit[feature] ?? 0, 1e-30);
        highest.set(feature, Math.max(against, highest.get(feature) ?? 0));
      }
    }
    for (const [feature, value] of highest) scores[feature]! += (WORTH.promotes / tokensOf.length) * value;
  }
}

/** How strongly features fire on a word: the mean over its tokens' occurrences. */
function firings({ tokenCounts, tokensCounted }: SearchState, word: readonly WordToken[], fired: ByToken<Fired>): Map<number, number> {
  const occurrences = word.reduce((sum, { tokenId }) => sum + (tokenCounts.get(tokenId) ?? 0), 0);
  const values = new Map<number, number>();
  for (const { tokenId, weight } of word) {
    const n = tokenCounts.get(tokenId) ?? 0;
    if (n === 0) continue;
    const most = Math.log(Math.max(2, tokensCounted / n));
    for (const { feature, pmi, strength } of fired.get(tokenId) ?? []) {
      const telling = Math.min(1, Math.max(0, pmi / most));
      values.set(feature, (values.get(feature) ?? 0) + (weight * strength * telling * n) / occurrences);
    }
  }
  return values;
}

async function readFired(clickhouse: ClickHouse, indexId: number, tokens: readonly number[]): Promise<ByToken<Fired>> {
  const sql = `SELECT token_id, feature_index, pmi, strength FROM ${T.tokenFeatures} WHERE index_id = {indexId:UInt32} AND token_id IN {tokens:Array(UInt32)} ORDER BY token_id, feature_index`;
  return byToken(await clickhouse.small(sql, { indexId, tokens }, POINT_READ), 16, (view, at) => ({ feature: view.getUint32(at + 4, true), pmi: view.getFloat32(at + 8, true), strength: view.getFloat32(at + 12, true) }));
}

async function readPromoted(clickhouse: ClickHouse, indexId: number, tokens: readonly number[]): Promise<ByToken<Promoted>> {
  const sql = `SELECT token_id, feature_index, logit FROM ${T.logitFeatures} WHERE index_id = {indexId:UInt32} AND negative = 0 AND token_id IN {tokens:Array(UInt32)} ORDER BY token_id, feature_index`;
  return byToken(await clickhouse.small(sql, { indexId, tokens }, POINT_READ), 12, (view, at) => ({ feature: view.getUint32(at + 4, true), logit: view.getFloat32(at + 8, true) }));
}

/** Rows of RowBinary that all take `width` bytes and begin with a token. */
function byToken<Row>(bytes: Uint8Array, width: number, read: (view: DataView, at: number) => Row): Map<number, Row[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const rows = new Map<number, Row[]>();
  let list: Row[] = [];
  let last = -1;
  for (let at = 0; at < bytes.length; at += width) {
    const token = view.getUint32(at, true);
    if (token !== last) rows.set((last = token), (list = []));
    list.push(read(view, at));
  }
  return rows;
}
