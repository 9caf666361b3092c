import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type Measure, MEASURES } from "../building/coactivation.ts";
import { type Columns, smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";

/** Features that fire with a feature, and on how many of the sampled tokens. */
export interface CoactiveRow {
  readonly feature: number;
  readonly nTokensSampled: number;
  readonly nSampled: number;
  readonly coactive: readonly number[];
  readonly coactiveN: readonly number[];
  readonly coactiveTogether: readonly number[];
}

export const coactiveLists: Columns<Omit<CoactiveRow, "feature">> = {
  nTokensSampled: ["n_tokens_sampled", (row) => row.u32()],
  nSampled: ["n_sampled", (row) => row.u32()],
  coactive: ["coactive", (row) => row.u32s()],
  coactiveN: ["coactive_n", (row) => row.u32s()],
  coactiveTogether: ["coactive_together", (row) => row.u32s()],
};

const coactiveColumns: Columns<CoactiveRow> = { feature: ["feature_index", (row) => row.u32()], ...coactiveLists };

/** What fires with a feature; undefined where the index has no such feature. */
export async function readCoactivations(clickhouse: ClickHouse, indexId: number, feature: number): Promise<CoactiveRow | undefined> {
  const [row] = await smallRows(clickhouse, coactiveColumns, `FROM ${T.features} WHERE index_id = {indexId:UInt32} AND feature_index = {feature:UInt32}`, { indexId, feature });
  return row;
}

/** By a measure, strongest first. */
export function ranked({ nTokensSampled: total, nSampled: a, coactive, coactiveN, coactiveTogether }: CoactiveRow, measure: Measure): { readonly feature: number; readonly value: number }[] {
  return coactive
    .map((feature, i) => ({ feature, value: MEASURES[measure]({ total, a, b: coactiveN[i] as number, both: coactiveTogether[i] as number }) }))
    .sort((x, y) => y.value - x.value || x.feature - y.feature);
}
