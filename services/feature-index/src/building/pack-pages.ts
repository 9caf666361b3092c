import type { ClickHouse } from "@mistral-sae/clickhouse";
import { internal } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import { PACKED } from "../serving/packed-pages.ts";
import { T } from "../store/tables.ts";

const FEATURES_AN_INSERT = 4_096;

/** Packs what pages read of each feature into one row. A run of features is one insert, made unless it is there already. */
export async function packPages(clickhouse: ClickHouse, { indexId, sae }: Pick<IndexRecord, "indexId" | "sae">, signal: AbortSignal): Promise<void> {
  const range = "index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}";
  for (let start = 0; start < sae.dSae; start += FEATURES_AN_INSERT) {
    const params = { indexId, start, end: Math.min(start + FEATURES_AN_INSERT, sae.dSae) };
    const count = async (table: string) => (await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${table} WHERE ${range}`, params, { signal })).n;
    const wanted = await count(T.features);
    if ((await count(T.featurePages)) === wanted) continue;
    await clickhouse.command(
      `INSERT INTO ${T.featurePages} (index_id, feature_index, basic, rest)
       SELECT {indexId:UInt32}, feature_index, ${PACKED.basic}, ${PACKED.rest} FROM (SELECT * FROM ${T.features} WHERE ${range}) AS f
       LEFT JOIN (SELECT feature_index, ${PACKED.examples} AS examples FROM ${T.featureExamples} WHERE ${range} GROUP BY feature_index) AS e USING feature_index ORDER BY feature_index`,
      params,
      // One block, one part, as when features are assembled.
      { signal, settings: { max_threads: 1, min_insert_block_size_rows: "1000000", min_insert_block_size_bytes: "0", max_block_size: "1000000", insert_deduplication_token: `${indexId}/${start}` } },
    );
    const n = await count(T.featurePages);
    if (n !== wanted) throw internal("PAGES_INCOMPLETE", `pages of features ${start} to ${params.end} of index ${indexId}: got ${n} rows, wanted ${wanted}`);
  }
}
