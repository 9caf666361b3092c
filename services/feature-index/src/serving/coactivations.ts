import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type Measure, MEASURES } from "../building/coactivation.ts";
import { T } from "../store/tables.ts";

/** Features that fire with a feature. */
export interface CoactiveRow {
  readonly feature: number;
  readonly total: number;
  readonly n: number;
  readonly others: readonly number[];
  readonly othersN: readonly number[];
  readonly together: readonly number[];
}

export async function readCoactivations(clickhouse: ClickHouse, indexId: number, features: readonly number[], signal: AbortSignal): Promise<ReadonlyMap<number, CoactiveRow>> {
  const rows = await clickhouse.rows<CoactiveRow>(
    `SELECT feature_index AS feature, n_tokens AS total, n, others, others_n AS othersN, together FROM ${T.featureCoactivations}
     WHERE index_id = {indexId:UInt32} AND feature_index IN {features:Array(UInt32)}`,
    { indexId, features },
    { signal, settings: { max_threads: 1 } },
  );
  return new Map(rows.map((row) => [row.feature, row]));
}

/** By a measure, strongest first. */
export function ranked({ total, n, others, othersN, together }: CoactiveRow, measure: Measure): { readonly feature: number; readonly value: number }[] {
  return others
    .map((feature, i) => ({ feature, value: MEASURES[measure]({ total, a: n, b: othersN[i] as number, both: together[i] as number }) }))
    .sort((x, y) => y.value - x.value || x.feature - y.feature);
}
