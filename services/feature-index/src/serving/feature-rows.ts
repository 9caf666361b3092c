import type { ClickHouse } from "@mistral-sae/clickhouse";
import { T } from "../store/tables.ts";

/** What every view of a feature shows. */
export interface BasicRow {
  readonly feature: number;
  readonly nFirings: number;
  readonly maxActivation: number;
  readonly sumActivation: number;
  readonly topTokenIds: readonly number[];
  readonly topTokenN: readonly number[];
  readonly topTokenSum: readonly number[];
  readonly wDecNorm: number;
  readonly posTokenIds: readonly number[];
  readonly posLogits: readonly number[];
  readonly negTokenIds: readonly number[];
  readonly negLogits: readonly number[];
}

/** What the feature page shows besides. */
export interface FullRow extends BasicRow {
  readonly logBins: readonly number[];
  readonly logCounts: readonly number[];
  readonly linearCounts: readonly number[];
  readonly strataN: readonly number[];
  readonly strataMin: readonly number[];
  readonly strataMax: readonly number[];
  readonly sources: readonly string[];
  readonly sourceN: readonly number[];
  readonly nearest: readonly number[];
  readonly nearestCosine: readonly number[];
}

const LISTED = 10;
// Float32 is read as Float64 where a double is made of it: JSON holds the shortest text of a number in its own precision.
const first = (column: string, n: number) => (n === 0 ? column : `arraySlice(${column}, 1, ${n})`);

const stats = (listed: number) => `feature_index AS feature, n_firings AS nFirings, toFloat64(max_activation) AS maxActivation, sum_activation AS sumActivation,
  ${first("top_token_ids", listed)} AS topTokenIds, ${first("top_token_n", listed)} AS topTokenN, arrayMap(x -> toFloat64(x), ${first("top_token_sum", listed)}) AS topTokenSum`;
const weights = (listed: number) => `feature_index AS feature, w_dec_norm AS wDecNorm, ${first("pos_token_ids", listed)} AS posTokenIds, ${first("pos_logits", listed)} AS posLogits,
  ${first("neg_token_ids", listed)} AS negTokenIds, ${first("neg_logits", listed)} AS negLogits`;
const FULL_STATS = `, log_bins AS logBins, log_counts AS logCounts, linear_counts AS linearCounts, strata_n AS strataN, arrayMap(x -> toFloat64(x), strata_min) AS strataMin, arrayMap(x -> toFloat64(x), strata_max) AS strataMax,
  sources, source_n AS sourceN`;
const FULL_WEIGHTS = ", nearest, arrayMap(x -> toFloat64(x), nearest_cosine) AS nearestCosine";

const WHERE = "WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}";
// Point reads: more threads would only divide a few granules.
const settings = { max_threads: 1 } as const;

/** Rows of these features by number. */
export async function readBasicRows(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, BasicRow>> {
  return await readRows<BasicRow>(clickhouse, indexId, features, signal, `SELECT ${stats(LISTED)} FROM ${T.featureStats} ${WHERE}`, `SELECT ${weights(LISTED)} FROM ${T.featureWeights} ${WHERE}`);
}

/** Rows of these features by number, with what the feature page needs. */
export async function readFullRows(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, FullRow>> {
  return await readRows<FullRow>(clickhouse, indexId, features, signal, `SELECT ${stats(0)}${FULL_STATS} FROM ${T.featureStats} ${WHERE}`, `SELECT ${weights(0)}${FULL_WEIGHTS} FROM ${T.featureWeights} ${WHERE}`);
}

const NO_WEIGHTS = { wDecNorm: 0, posTokenIds: [], posLogits: [], negTokenIds: [], negLogits: [], nearest: [], nearestCosine: [] };

async function readRows<Row extends BasicRow>(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal, statsSql: string, weightsSql: string): Promise<ReadonlyMap<number, Row>> {
  if (features.length === 0) return new Map();
  const params = { indexId, features };
  const call = { signal, settings };
  const [statRows, weightRows] = await Promise.all([clickhouse.rows<Row>(statsSql, params, call), clickhouse.rows<Row>(weightsSql, params, call)]);
  const weightsOf = new Map(weightRows.map((row) => [row.feature, row]));
  return new Map(statRows.map((row) => [row.feature, { ...NO_WEIGHTS, ...row, ...weightsOf.get(row.feature) }]));
}
