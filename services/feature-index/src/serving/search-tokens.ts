import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { T } from "../store/tables.ts";

/** A feature and what it was found by. */
export interface Hit {
  readonly feature: number;
  readonly value: number;
}

// A feature that fires on one token in fifty of its kind is about something else, however surprising that one is.
const LEAST_SHARE = 0.02;

/**
 * Features by pointwise mutual information with a token, in nats: log(n(f, t) N / (n(f) n(t))), over the text whose tokens
 * were counted. Only features that fire on at least 2% of the token's occurrences and have it among their top tokens.
 */
export async function featuresOfToken(clickhouse: ClickHouse, { indexId }: IndexRecord, tokenId: number, limit: number, offset: number, signal: AbortSignal): Promise<Hit[]> {
  return await clickhouse.rows<Hit>(
    `WITH
       (SELECT sum(n) FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}) AS total,
       (SELECT sum(n) FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32} AND token_id = {tokenId:UInt32}) AS occurrences
     SELECT feature_index AS feature, log(top_token_n[indexOf(top_token_ids, {tokenId:UInt32})] * total / (n_firings_sampled * occurrences)) AS value
     FROM ${T.features} WHERE index_id = {indexId:UInt32} AND has(top_token_ids, {tokenId:UInt32})
       AND top_token_n[indexOf(top_token_ids, {tokenId:UInt32})] >= greatest(1, occurrences * {leastShare:Float64})
     ORDER BY value DESC, feature LIMIT {limit:UInt32} OFFSET {offset:UInt64}`,
    { indexId, tokenId, leastShare: LEAST_SHARE, limit, offset },
    { signal },
  );
}

/** Features by the logit that they give a token: the highest first, or the lowest where `negative`. */
export async function featuresOfLogit(clickhouse: ClickHouse, { indexId }: IndexRecord, tokenId: number, negative: boolean, limit: number, offset: number, signal: AbortSignal): Promise<Hit[]> {
  const side = negative ? "neg" : "pos";
  return await clickhouse.rows<Hit>(
    `SELECT feature_index AS feature, toFloat64(${side}_logits[indexOf(${side}_token_ids, {tokenId:UInt32})]) AS value
     FROM ${T.features} WHERE index_id = {indexId:UInt32} AND has(${side}_token_ids, {tokenId:UInt32})
     ORDER BY value ${negative ? "ASC" : "DESC"}, feature LIMIT {limit:UInt32} OFFSET {offset:UInt64}`,
    { indexId, tokenId, limit, offset },
    { signal },
  );
}
