import { type ClickHouse, constantColumn, fixedColumn, nullableColumn, stringColumn } from "@mistral-sae/clickhouse";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ExplanationSummarySchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { type Columns, smallRows } from "../store/small-rows.ts";
import { T } from "../store/tables.ts";

/** An explanation as it is stored. */
export interface Explanation {
  readonly feature: number;
  readonly name: string;
  readonly description: string;
  readonly explanationType: string;
  /** Empty for a local summary. */
  readonly explanationModel: string;
  readonly score: number | null;
}

/** Best first: by score, a model's before a local summary, then by name. */
export const BEST_FIRST = "ifNull(score, -1) DESC, explanation_model = '', name";

const columns: Columns<Explanation> = {
  feature: ["feature_index", (row) => row.u32()],
  name: ["name", (row) => row.text()],
  description: ["description", (row) => row.text()],
  explanationType: ["explanation_type", (row) => row.text()],
  explanationModel: ["explanation_model", (row) => row.text()],
  score: ["score", (row) => row.nullable(() => row.f64())],
};

/** Explanations of these features, best first. */
export async function readExplanations(clickhouse: ClickHouse, saeId: number, features: readonly number[]): Promise<ReadonlyMap<number, readonly Explanation[]>> {
  if (features.length === 0) return new Map();
  const from = `FROM ${T.explanations} FINAL WHERE sae_id = {saeId:UInt32} AND feature_index IN {features:Array(UInt32)} ORDER BY feature_index, ${BEST_FIRST}`;
  return Map.groupBy(await smallRows(clickhouse, columns, from, { saeId, features }), ({ feature }) => feature);
}

/** Stores explanations; one of the same feature and name is replaced. */
export async function writeExplanations(clickhouse: ClickHouse, saeId: number, entries: readonly Explanation[], signal: AbortSignal): Promise<void> {
  if (entries.length === 0) return;
  const version = BigInt(Date.now());
  await clickhouse.insertColumns(
    T.explanations,
    [
      constantColumn("sae_id", "UInt32", saeId, entries.length),
      fixedColumn("feature_index", "UInt32", Uint32Array.from(entries, ({ feature }) => feature)),
      stringColumn("name", entries.map(({ name }) => name)),
      stringColumn("description", entries.map(({ description }) => description)),
      stringColumn("explanation_type", entries.map(({ explanationType }) => explanationType)),
      stringColumn("explanation_model", entries.map(({ explanationModel }) => explanationModel)),
      nullableColumn("score", "Float64", Uint8Array.from(entries, ({ score }) => Number(score === null)), Float64Array.from(entries, ({ score }) => score ?? 0)),
      fixedColumn("version", "UInt64", new BigUint64Array(entries.length).fill(version)),
    ],
    { signal },
  );
}

export function explanationMessage({ name, description, explanationType, explanationModel, score }: Explanation): MessageInitShape<typeof ExplanationSummarySchema> {
  return { name, description, explanationType, explanationModel, ...(score === null ? {} : { score }) };
}
