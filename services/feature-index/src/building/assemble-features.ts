import type { ClickHouse } from "@mistral-sae/clickhouse";
import { internal } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import { T } from "../store/tables.ts";

const FEATURES_AN_INSERT = 4_096;

/** Puts the staged parts of each feature into one row. A run of features is one insert, made unless it is there already. */
export async function assembleFeatures(clickhouse: ClickHouse, { indexId, sae }: IndexRecord, signal: AbortSignal): Promise<void> {
  const range = "index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}";
  const staged = (table: string) => `(SELECT * EXCEPT index_id FROM ${table} WHERE ${range})`;
  // Columns with a default are those of imports, which no staged table has.
  const columns = (await clickhouse.rows<{ name: string; default_type: string }>(`DESCRIBE TABLE ${T.features}`)).filter((column) => column.default_type === "").map(({ name }) => name);
  for (let start = 0; start < sae.dSae; start += FEATURES_AN_INSERT) {
    const params = { indexId, start, end: Math.min(start + FEATURES_AN_INSERT, sae.dSae) };
    const wanted = params.end - start;
    const count = async () => (await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${T.features} WHERE ${range}`, params, { signal })).n;
    if ((await count()) === wanted) continue;
    await clickhouse.command(
      `INSERT INTO ${T.features} (${columns.join(", ")}) SELECT {indexId:UInt32} AS index_id, ${columns.slice(1).join(", ")} FROM ${staged(T.stagedStats)} AS s
       INNER JOIN ${staged(T.stagedCoactivations)} AS c USING feature_index INNER JOIN ${staged(T.stagedWeights)} AS w USING feature_index ORDER BY feature_index`,
      params,
      // One block, one part: all of the rows or none. In a cluster that holds for each shard, and those that have theirs take no second.
      { signal, settings: { max_threads: 1, min_insert_block_size_rows: "1000000", min_insert_block_size_bytes: "0", max_block_size: "1000000", insert_deduplication_token: `${indexId}/${start}` } },
    );
    const n = await count();
    if (n !== wanted) throw internal("FEATURES_INCOMPLETE", `features ${start} to ${params.end} of index ${indexId}: got ${n} rows, wanted ${wanted}`);
  }
}
