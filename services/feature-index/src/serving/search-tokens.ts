import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { T } from "../store/tables.ts";

/** A feature and what it was found by. */
export interface Hit {
  readonly feature: number;
  readonly value: number;
}

/**
 * Features by pointwise mutual information with a token, in nats: log(n(f, t) N / (n(f) n(t))), over the text whose tokens
 * were counted. Only features that fire on at least 2% of the token's occurrences and have it among their top tokens.
 */
export async function featuresOfToken(clickhouse: ClickHouse, { indexId }: IndexRecord, tokenId: number, limit: number, offset: number, signal: AbortSignal): Promise<Hit[]> {
  return await clickhouse.rows<Hit>(
    `SELECT feature_index AS feature, toFloat64(pmi) AS value FROM ${T.tokenFeatures} WHERE index_id = {indexId:UInt32} AND token_id = {tokenId:UInt32}
     ORDER BY value DESC, feature LIMIT {limit:UInt32} OFFSET {offset:UInt64}`,
    { indexId, tokenId, limit, offset },
    { signal },
  );
}

/** Features by the logit that they give a token, those that have it among their top tokens: the highest first, or the lowest where `negative`. */
export async function featuresOfLogit(clickhouse: ClickHouse, { indexId }: IndexRecord, tokenId: number, negative: boolean, limit: number, offset: number, signal: AbortSignal): Promise<Hit[]> {
  return await clickhouse.rows<Hit>(
    `SELECT feature_index AS feature, toFloat64(logit) AS value FROM ${T.logitFeatures}
     WHERE index_id = {indexId:UInt32} AND negative = {negative:UInt8} AND token_id = {tokenId:UInt32}
     ORDER BY value ${negative ? "ASC" : "DESC"}, feature LIMIT {limit:UInt32} OFFSET {offset:UInt64}`,
    { indexId, tokenId, negative: Number(negative), limit, offset },
    { signal },
  );
}
