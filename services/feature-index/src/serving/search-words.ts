import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { T } from "../store/tables.ts";
import { bm25 } from "../words/bm25.ts";
import type { TokenWords, WordToken } from "../words/token-words.ts";
import { stem } from "../words/words.ts";
import type { Hit } from "./search-tokens.ts";

/** What each kind of evidence is worth at its best. */
const WORTH = { explanation: 1, fires: 1, promotes: 0.5 } as const;

/**
 * Features by words: in their explanations (BM25, scaled to the best match), among the tokens that they fire on, and among
 * the tokens that they promote (the logit against the feature's highest). Best first, then by index.
 *
 * Firing on a word is worth the mean activation over all its occurrences against the feature's largest, times how telling
 * that is: the pointwise mutual information of the two against the most it could be. Its square root is added up, so that
 * a feature of both words comes before one of either.
 */
export async function featuresOfWords(clickhouse: ClickHouse, index: IndexRecord, words: readonly string[], tokens: TokenWords, signal: AbortSignal): Promise<Hit[]> {
  const tokensOf = words.map((word) => tokens.of(word));
  const [explained, fires, promotes] = await Promise.all([
    byExplanation(clickhouse, index, words, signal),
    byTopTokens(clickhouse, index, tokensOf, signal),
    byLogits(clickhouse, index, tokensOf, signal),
  ]);
  const values = new Map<number, number>();
  const add = (feature: number, value: number) => {
    if (value > 0) values.set(feature, (values.get(feature) ?? 0) + value);
  };
  const best = Math.max(...explained.values(), 0);
  for (const [feature, score] of explained) add(feature, (WORTH.explanation * score) / best);
  for (const { feature, perWord } of fires) add(feature, (WORTH.fires * sum(perWord.map((share) => Math.sqrt(Math.max(0, share))))) / words.length);
  for (const { feature, perWord } of promotes) add(feature, (WORTH.promotes * sum(perWord.map((share) => Math.max(0, share)))) / words.length);
  return [...values].map(([feature, value]) => ({ feature, value })).sort((a, b) => b.value - a.value || a.feature - b.feature);
}

async function byExplanation(clickhouse: ClickHouse, { sae }: IndexRecord, words: readonly string[], signal: AbortSignal): Promise<Map<number, number>> {
  const where = `FROM ${T.explanations} FINAL WHERE sae_id = {saeId:UInt32}`;
  const params = { saeId: sae.saeId, stems: [...new Set(words.map(stem))] };
  const [texts, all] = await Promise.all([
    clickhouse.rows<{ feature: number; text: string }>(`SELECT feature_index AS feature, description AS text ${where} AND multiSearchAnyCaseInsensitiveUTF8(description, {stems:Array(String)})`, params, { signal }),
    clickhouse.row<{ n: number; words: number }>(`SELECT count() AS n, sum(length(splitByWhitespace(description))) AS words ${where}`, params, { signal }),
  ]);
  const ranked = texts.map(({ feature, text }) => ({ key: feature, text }));
  return bm25(words, ranked, { nTexts: all.n, meanLength: all.words / Math.max(1, all.n) });
}

interface PerWord {
  readonly feature: number;
  readonly perWord: readonly number[];
}

async function byTopTokens(clickhouse: ClickHouse, { indexId }: IndexRecord, tokensOf: readonly (readonly WordToken[])[], signal: AbortSignal): Promise<PerWord[]> {
  const { params, all } = wordParams(tokensOf);
  if (all.length === 0) return [];
  const { total, ids, counts } = await clickhouse.row<{ total: number; ids: number[]; counts: number[] }>(
    `SELECT sum(n) AS total, groupArrayIf(token_id, has({all:Array(UInt32)}, token_id)) AS ids, groupArrayIf(n, has({all:Array(UInt32)}, token_id)) AS counts
     FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}`,
    { indexId, all },
    { signal },
  );
  const countOf = new Map(ids.map((id, i) => [id, counts[i] as number]));
  const per = tokensOf.map((tokens, i) => {
    params[`n${i}`] = tokens.reduce((n, { tokenId }) => n + (countOf.get(tokenId) ?? 0), 0);
    const fired = `arraySum((t, n) -> n * has({ids${i}:Array(UInt32)}, t), top_token_ids, top_token_n)`;
    const strength = `arraySum((t, s) -> s * {weights${i}:Array(Float64)}[indexOf({ids${i}:Array(UInt32)}, t)], top_token_ids, top_token_sum) / greatest({n${i}:Float64} * max_activation, 1e-30)`;
    const telling = `log(greatest(1e-30, ${fired} * {total:Float64} / greatest(1., n_firings_sampled * {n${i}:Float64}))) / log(greatest(2., {total:Float64} / greatest(1., {n${i}:Float64})))`;
    return `${strength} * least(1., greatest(0., ${telling}))`;
  });
  return await clickhouse.rows<PerWord>(
    `SELECT feature_index AS feature, [${per.join(", ")}] AS perWord FROM ${T.features} WHERE index_id = {indexId:UInt32} AND hasAny(top_token_ids, {all:Array(UInt32)})`,
    { ...params, all, total, indexId },
    { signal },
  );
}

async function byLogits(clickhouse: ClickHouse, { indexId }: IndexRecord, tokensOf: readonly (readonly WordToken[])[], signal: AbortSignal): Promise<PerWord[]> {
  const { params, all } = wordParams(tokensOf);
  if (all.length === 0) return [];
  const shares = tokensOf.map((_, i) => `arrayMax((t, l) -> l * {weights${i}:Array(Float64)}[indexOf({ids${i}:Array(UInt32)}, t)], pos_token_ids, pos_logits) / greatest(pos_logits[1], 1e-30)`);
  return await clickhouse.rows<PerWord>(
    `SELECT feature_index AS feature, [${shares.join(", ")}] AS perWord FROM ${T.features} WHERE index_id = {indexId:UInt32} AND hasAny(pos_token_ids, {all:Array(UInt32)})`,
    { ...params, all, indexId },
    { signal },
  );
}

/** Ids and weights of each word's tokens as parameters, and all ids together. */
function wordParams(tokensOf: readonly (readonly WordToken[])[]): { readonly params: Record<string, number | number[]>; readonly all: number[] } {
  const params: Record<string, number | number[]> = {};
  for (const [i, tokens] of tokensOf.entries()) {
    params[`ids${i}`] = tokens.map(({ tokenId }) => tokenId);
    params[`weights${i}`] = tokens.map(({ weight }) => weight);
  }
  return { params, all: [...new Set(tokensOf.flat().map(({ tokenId }) => tokenId))] };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
