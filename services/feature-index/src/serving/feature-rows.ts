import type { ClickHouse } from "@mistral-sae/clickhouse";
import { T } from "../store/tables.ts";
import { COACTIVE_COLUMNS, type CoactiveRow } from "./coactivations.ts";
import { pointRead } from "./point-read.ts";

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
  /** 1 where a dashboard was imported: counts are unknown then. */
  readonly imported: number;
  /** Share of tokens that a dashboard gives. */
  readonly givenFracNonzero: number | null;
}

/** What the feature page shows besides. */
export interface FullRow extends BasicRow, CoactiveRow {
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
  /** What a dashboard gives: the histogram of activations, and the share of each stratum. */
  readonly givenHistEdges: readonly number[];
  readonly givenHistCounts: readonly number[];
  readonly givenStrataShare: readonly number[];
}

const LISTED = 10;
// Float32 is read as Float64 where a double is made of it: JSON holds the shortest text of a number in its own precision.
const first = (column: string, n: number) => (n === 0 ? column : `arraySlice(${column}, 1, ${n})`);

const columns = (listed: number) => `feature_index AS feature, n_firings AS nFirings, toFloat64(max_activation) AS maxActivation, sum_activation AS sumActivation,
  ${first("top_token_ids", listed)} AS topTokenIds, ${first("top_token_n", listed)} AS topTokenN, arrayMap(x -> toFloat64(x), ${first("top_token_sum", listed)}) AS topTokenSum,
  w_dec_norm AS wDecNorm, ${first("pos_token_ids", listed)} AS posTokenIds, ${first("pos_logits", listed)} AS posLogits,
  ${first("neg_token_ids", listed)} AS negTokenIds, ${first("neg_logits", listed)} AS negLogits, imported, given_frac_nonzero AS givenFracNonzero`;
const FULL = `${columns(0)}, log_bins AS logBins, log_counts AS logCounts, linear_counts AS linearCounts, strata_n AS strataN,
  arrayMap(x -> toFloat64(x), strata_min) AS strataMin, arrayMap(x -> toFloat64(x), strata_max) AS strataMax, sources, source_n AS sourceN,
  nearest, arrayMap(x -> toFloat64(x), nearest_cosine) AS nearestCosine,
  given_hist_edges AS givenHistEdges, given_hist_counts AS givenHistCounts, given_strata_share AS givenStrataShare, ${COACTIVE_COLUMNS}`;

/** Rows of these features by number. */
export async function readBasicRows(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, BasicRow>> {
  return await readRows<BasicRow>(clickhouse, columns(LISTED), indexId, features, signal);
}

/** Rows of these features by number, with what the feature page needs. */
export async function readFullRows(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, FullRow>> {
  return await readRows<FullRow>(clickhouse, FULL, indexId, features, signal);
}

async function readRows<Row extends BasicRow>(clickhouse: ClickHouse, selected: string, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, Row>> {
  if (features.length === 0) return new Map();
  const rows = await clickhouse.rows<Row>(`SELECT ${selected} FROM ${T.features} WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}`, { indexId, features }, { signal, settings: pointRead });
  return new Map(rows.map((row) => [row.feature, row]));
}
