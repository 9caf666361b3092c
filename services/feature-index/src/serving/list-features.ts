import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { EXPLANATION_FIELDS, featureFilter, featureOrder } from "../filter/feature-filter.ts";
import { T } from "../store/tables.ts";
import { countedTokens } from "./resolve-index.ts";

/** Which features are wanted. */
export interface FeatureQuery {
  readonly filter: string;
  readonly orderBy: string;
  readonly offset: number;
  readonly limit: number;
}

/** Features of an index by filter and order, and how many match in all. @throws INVALID_ARGUMENT. */
export async function queryFeatures(clickhouse: ClickHouse, index: IndexRecord, query: FeatureQuery, signal: AbortSignal): Promise<{ readonly features: number[]; readonly total: number }> {
  const filter = featureFilter(query.filter);
  const order = featureOrder(query.orderBy);
  const withExplanations = EXPLANATION_FIELDS.some((field) => filter.fields.has(field) || order.fields.has(field));
  const explanations = withExplanations
    ? `LEFT JOIN (SELECT feature_index, count() AS explanations, max(score) AS score FROM ${T.explanations} FINAL WHERE sae_id = {sae_id:UInt32} GROUP BY feature_index) AS e
       ON e.feature_index = s.feature_index`
    : "";
  const from = `FROM ${T.features} AS s ${explanations} WHERE s.index_id = {index_id:UInt32} AND ${filter.sql}`;
  const params = { ...filter.params, index_id: index.indexId, sae_id: index.sae.saeId, counted_tokens: Math.max(1, countedTokens(index)), limit: query.limit, offset: query.offset };
  const [rows, count] = await Promise.all([
    clickhouse.rows<{ f: number }>(`SELECT s.feature_index AS f ${from} ORDER BY ${order.sql} LIMIT {limit:UInt32} OFFSET {offset:UInt64}`, params, { signal }),
    clickhouse.row<{ n: number }>(`SELECT count() AS n ${from}`, params, { signal }),
  ]);
  return { features: rows.map(({ f }) => f), total: count.n };
}
