import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type Columns, smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";
import { type CoactiveRow, coactiveLists } from "./coactivations.ts";

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
  readonly encoderNearest: readonly number[];
  readonly encoderNearestCosine: readonly number[];
  /** Empty in indexes built before positions were counted. */
  readonly positionCounts: readonly number[];
  /** What a dashboard gives: the histogram of activations, and the share of each stratum. */
  readonly givenHistEdges: readonly number[];
  readonly givenHistCounts: readonly number[];
  readonly givenStrataShare: readonly number[];
}

const LISTED = 10;
const LISTS = ["topTokenIds", "topTokenN", "topTokenSum", "posTokenIds", "posLogits", "negTokenIds", "negLogits"] as const satisfies readonly (keyof BasicRow)[];

/** What every view shows, lists whole. */
export const basicColumns: Columns<BasicRow> = {
  feature: ["feature_index", (row) => row.u32()],
  nFirings: ["n_firings", (row) => row.u64()],
  maxActivation: ["max_activation", (row) => row.f32()],
  sumActivation: ["sum_activation", (row) => row.f64()],
  topTokenIds: ["top_token_ids", (row) => row.u32s()],
  topTokenN: ["top_token_n", (row) => row.u32s()],
  topTokenSum: ["top_token_sum", (row) => row.f32s()],
  wDecNorm: ["w_dec_norm", (row) => row.f32()],
  posTokenIds: ["pos_token_ids", (row) => row.u32s()],
  posLogits: ["pos_logits", (row) => row.f32s()],
  negTokenIds: ["neg_token_ids", (row) => row.u32s()],
  negLogits: ["neg_logits", (row) => row.f32s()],
  imported: ["imported", (row) => row.u8()],
  givenFracNonzero: ["given_frac_nonzero", (row) => row.nullable(() => row.f64())],
};

/** What the page shows besides. */
export const restColumns: Columns<Omit<FullRow, keyof BasicRow>> = {
  logBins: ["log_bins", (row) => row.u16s()],
  logCounts: ["log_counts", (row) => row.u32s()],
  linearCounts: ["linear_counts", (row) => row.u32s()],
  strataN: ["strata_n", (row) => row.u32s()],
  strataMin: ["strata_min", (row) => row.f32s()],
  strataMax: ["strata_max", (row) => row.f32s()],
  sources: ["sources", (row) => row.list(() => row.text())],
  sourceN: ["source_n", (row) => row.list(() => row.u64())],
  nearest: ["nearest", (row) => row.u32s()],
  nearestCosine: ["nearest_cosine", (row) => row.f32s()],
  encoderNearest: ["encoder_nearest", (row) => row.u32s()],
  encoderNearestCosine: ["encoder_nearest_cosine", (row) => row.f32s()],
  positionCounts: ["position_counts", (row) => row.u32s()],
  givenHistEdges: ["given_hist_edges", (row) => row.list(() => row.f64())],
  givenHistCounts: ["given_hist_counts", (row) => row.list(() => row.f64())],
  givenStrataShare: ["given_strata_share", (row) => row.list(() => row.f64())],
  ...coactiveLists,
};

const fullColumns: Columns<FullRow> = { ...basicColumns, ...restColumns };

/** A row as lists show it. */
export function listed(row: BasicRow): BasicRow {
  return { ...row, ...Object.fromEntries(LISTS.map((list) => [list, row[list].slice(0, LISTED)])) };
}

/** Rows of these features by number. */
export async function readBasicRows(clickhouse: ClickHouse, indexId: number, features: readonly number[]): Promise<ReadonlyMap<number, BasicRow>> {
  return await readRows(clickhouse, basicColumns, indexId, features);
}

/** Rows of these features by number, with what the feature page needs. */
export async function readFullRows(clickhouse: ClickHouse, indexId: number, features: readonly number[]): Promise<ReadonlyMap<number, FullRow>> {
  return await readRows(clickhouse, fullColumns, indexId, features);
}

async function readRows<Row extends BasicRow>(clickhouse: ClickHouse, columns: Columns<Row>, indexId: number, features: readonly number[]): Promise<ReadonlyMap<number, Row>> {
  if (features.length === 0) return new Map();
  const rows = await smallRows(clickhouse, columns, `FROM ${T.features} WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}`, { indexId, features });
  return new Map(rows.map((row) => [row.feature, row]));
}
