import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type Measure, MEASURES } from "../building/coactivation.ts";
import { T } from "../store/tables.ts";
import { pointRead } from "./point-read.ts";

/** Features that fire with a feature, and on how many of the sampled tokens. */
export interface CoactiveRow {
  readonly feature: number;
  readonly nTokensSampled: number;
  readonly nSampled: number;
  readonly coactive: readonly number[];
  readonly coactiveN: readonly number[];
  readonly coactiveTogether: readonly number[];
}

export const COACTIVE_COLUMNS = "n_tokens_sampled AS nTokensSampled, n_sampled AS nSampled, coactive, coactive_n AS coactiveN, coactive_together AS coactiveTogether";

export async function readCoactivations(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, CoactiveRow>> {
  const rows = await clickhouse.rows<CoactiveRow>(
    `SELECT feature_index AS feature, ${COACTIVE_COLUMNS} FROM ${T.features}
     WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}`,
    { indexId, features },
    { signal, settings: pointRead },
  );
  return new Map(rows.map((row) => [row.feature, row]));
}

/** By a measure, strongest first. */
export function ranked({ nTokensSampled: total, nSampled: a, coactive, coactiveN, coactiveTogether }: CoactiveRow, measure: Measure): { readonly feature: number; readonly value: number }[] {
  return coactive
    .map((feature, i) => ({ feature, value: MEASURES[measure]({ total, a, b: coactiveN[i] as number, both: coactiveTogether[i] as number }) }))
    .sort((x, y) => y.value - x.value || x.feature - y.feature);
}
