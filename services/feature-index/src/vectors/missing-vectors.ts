import { arrayColumn, type ClickHouse, constantColumn, fixedColumn, stringColumn } from "@mistral-sae/clickhouse";
import { stored, T } from "../store/tables.ts";

/** An explanation without a vector. */
export interface Unembedded {
  readonly feature: number;
  readonly name: string;
  readonly description: string;
  /** sipHash64 of the description. */
  readonly hash: string;
}

/** Features whose explanations are embedded by one shard. */
export const FEATURES_A_RANGE = 4_096;

const MISSING = `FROM ${T.explanations} FINAL WHERE sae_id = {saeId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32} AND description != ''
  AND (feature_index, name, sipHash64(description)) GLOBAL NOT IN (
    SELECT feature_index, name, text_hash FROM ${T.explanationVectors} FINAL
    WHERE sae_id = {saeId:UInt32} AND source = {source:String} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32})`;

/** First features of the ranges in which explanations have no vector of a source, or one of an older text. */
export async function rangesMissing(clickhouse: ClickHouse, saeId: number, source: string): Promise<number[]> {
  const params = { saeId, source, start: 0, end: 2 ** 32 - 1, step: FEATURES_A_RANGE };
  const rows = await clickhouse.rows<{ start: number }>(`SELECT DISTINCT intDiv(feature_index, {step:UInt32}) * {step:UInt32} AS start ${MISSING} ORDER BY start`, params);
  return rows.map(({ start }) => start);
}

/** Those of one range. */
export async function readMissing(clickhouse: ClickHouse, saeId: number, source: string, start: number, signal: AbortSignal): Promise<Unembedded[]> {
  const params = { saeId, source, start, end: start + FEATURES_A_RANGE };
  return await clickhouse.rows<Unembedded>(`SELECT feature_index AS feature, name, description, toString(sipHash64(description)) AS hash ${MISSING} ORDER BY feature, name`, params, { signal });
}

/** Stores vectors of these explanations, one each. */
export async function writeVectors(clickhouse: ClickHouse, saeId: number, source: string, rows: readonly Unembedded[], vectors: readonly Float32Array[], signal: AbortSignal): Promise<void> {
  const dimension = vectors[0]?.length ?? 0;
  const values = new Float32Array(rows.length * dimension);
  for (const [i, vector] of vectors.entries()) values.set(vector, i * dimension);
  await clickhouse.insertColumns(
    T.explanationVectors,
    [
      constantColumn("sae_id", "UInt32", saeId, rows.length),
      stringColumn("source", rows.map(() => source)),
      fixedColumn("feature_index", "UInt32", Uint32Array.from(rows, ({ feature }) => feature)),
      stringColumn("name", rows.map(({ name }) => name)),
      fixedColumn("text_hash", "UInt64", BigUint64Array.from(rows, ({ hash }) => BigInt(hash))),
      arrayColumn("vector", "Float32", Uint32Array.from(rows, (_, i) => (i + 1) * dimension), values),
      fixedColumn("version", "UInt64", new BigUint64Array(rows.length).fill(BigInt(Date.now()))),
    ],
    { signal },
  );
}

/** Vectors of an SAE in one of these sources. */
export async function countVectors(clickhouse: ClickHouse, saeIds: readonly number[], sources: readonly string[]): Promise<number> {
  const { n } = await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${T.explanationVectors} FINAL WHERE sae_id IN {saeIds:Array(UInt32)} AND source IN {sources:Array(String)}`, { saeIds, sources });
  return n;
}

/** Forgets vectors of other sources than these, and of explanations that are gone. Returns whether there were any. */
export async function sweepVectors(clickhouse: ClickHouse, saeId: number, sources: readonly string[], signal: AbortSignal): Promise<boolean> {
  const gone = await clickhouse.rows<{ feature: number; name: string }>(
    `SELECT feature_index AS feature, name FROM ${T.explanationVectors} FINAL WHERE sae_id = {saeId:UInt32}
       AND (feature_index, name) GLOBAL NOT IN (SELECT feature_index, name FROM ${T.explanations} FINAL WHERE sae_id = {saeId:UInt32})`,
    { saeId },
    { signal },
  );
  const foreign = await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${T.explanationVectors} WHERE sae_id = {saeId:UInt32} AND source NOT IN {sources:Array(String)}`, { saeId, sources }, { signal });
  if (foreign.n > 0) await clickhouse.command(`DELETE FROM ${stored(clickhouse, T.explanationVectors)} WHERE sae_id = {saeId:UInt32} AND source NOT IN {sources:Array(String)}`, { saeId, sources });
  await deleteByName(clickhouse, T.explanationVectors, saeId, gone);
  return gone.length > 0 || foreign.n > 0;
}

/** Forgets rows of a table that has sae_id, feature_index and name. */
export async function deleteByName(clickhouse: ClickHouse, table: string, saeId: number, rows: readonly { readonly feature: number; readonly name: string }[]): Promise<void> {
  for (let start = 0; start < rows.length; start += FEATURES_A_RANGE) {
    const part = rows.slice(start, start + FEATURES_A_RANGE);
    await clickhouse.command(
      `DELETE FROM ${stored(clickhouse, table)} WHERE sae_id = {saeId:UInt32} AND feature_index IN {features:Array(UInt32)} AND has(arrayZip({features:Array(UInt32)}, {names:Array(String)}), (feature_index, name))`,
      { saeId, features: part.map(({ feature }) => feature), names: part.map(({ name }) => name) },
    );
  }
}
