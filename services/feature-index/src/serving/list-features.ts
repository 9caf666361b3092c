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

/**
 * Settings of a query that looks at a few columns of all features. Columns lie in small pieces: to read all of them at once is
 * less work than to read the next one where the last one matched, and what was decompressed is kept.
 */
const SCAN = { optimize_move_to_prewhere: 0, use_uncompressed_cache: 1, merge_tree_max_rows_to_use_cache: "100000000", merge_tree_max_bytes_to_use_cache: "10000000000" } as const;

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
  const call = { signal, settings: SCAN };
  const rows = await clickhouse.rows<{ f: number; n: number }>(`SELECT s.feature_index AS f, count() OVER () AS n ${from} ORDER BY ${order.sql} LIMIT {limit:UInt32} OFFSET {offset:UInt64}`, params, call);
  // Behind the last of them nothing tells how many there are.
  const { n: total } = rows[0] ?? (await clickhouse.row<{ n: number }>(`SELECT count() AS n ${from}`, params, call));
  return { features: rows.map(({ f }) => f), total };
}
