import { join } from "node:path";
import { ClickHouse, openClickHouse } from "@mistral-sae/clickhouse";
import type { Reading } from "./report.ts";

/** What the columns of `features` belong to; those of none of these are statistics. */
const GROUPS: readonly (readonly [RegExp, string])[] = [
  [/^top_token/, "top tokens"],
  [/^(pos|neg)_/, "logit lens"],
  [/nearest|^w_dec_norm$/, "neighbours"],
  [/coactive|^n_tokens_sampled$|^n_sampled$/, "co-activations"],
];
const SCRATCH = "bench_storage";

/**
 * Bytes an activation of each table of the one index in a service's data folder, and of what `features` holds, by the shares
 * that its columns take on their own. The service must have stopped.
 *
 * @param folder the service's data folder.
 * @param nActivations activations of the index.
 */
export async function benchStorage(folder: string, nActivations: number): Promise<Reading[]> {
  await using stack = new AsyncDisposableStack();
  const server = await openClickHouse({ folder: join(folder, "clickhouse"), threads: 2, maxMemoryBytes: 2 ** 31, viewsDatabase: "sae" });
  stack.defer(async () => await server.stop());
  const clickhouse = new ClickHouse({ url: server.url, login: server.owner });
  stack.defer(async () => await clickhouse.close());
  const tables = await clickhouse.rows<{ name: string; bytes: number }>(
    "SELECT table AS name, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = 'mistral_sae' AND table NOT LIKE 'staged%' GROUP BY table ORDER BY bytes DESC",
  );
  const bytesOf = new Map(tables.map(({ name, bytes }) => [name, bytes]));
  const groups = await featureGroups(clickhouse, bytesOf.get("features") ?? 0);
  const reading = (name: string, bytes: number, atMost?: number): Reading => ({ name, value: bytes / nActivations, unit: "B/activation", ...(atMost === undefined ? {} : { atMost }) });
  const examples = (bytesOf.get("feature_examples") ?? 0) + (bytesOf.get("near_misses") ?? 0);
  return [
    reading("postings", bytesOf.get("postings") ?? 0, 2.9),
    reading("statistics and examples", (groups.get("statistics") ?? 0) + examples, 0.4),
    ...[...groups].map(([group, bytes]) => reading(`features: ${group}`, bytes)),
    ...tables.filter(({ name }) => name !== "postings" && name !== "features").map(({ name, bytes }) => reading(name, bytes)),
  ];
}

/** The bytes of `features` by group. Its parts keep all columns in one file, so that their shares are those of a copy by columns. */
async function featureGroups(clickhouse: ClickHouse, bytes: number): Promise<Map<string, number>> {
  await clickhouse.command(`DROP DATABASE IF EXISTS ${SCRATCH} SYNC`);
  await clickhouse.command(`CREATE DATABASE ${SCRATCH}`);
  try {
    await clickhouse.command(`CREATE TABLE ${SCRATCH}.features AS mistral_sae.features ENGINE = MergeTree ORDER BY (index_id, feature_index) SETTINGS min_bytes_for_wide_part = 0`);
    await clickhouse.command(`INSERT INTO ${SCRATCH}.features SELECT * FROM mistral_sae.features`);
    const columns = await clickhouse.rows<{ column: string; size: number }>(
      `SELECT column, sum(column_data_compressed_bytes) AS size FROM system.parts_columns WHERE active AND database = '${SCRATCH}' GROUP BY column`,
    );
    const total = columns.reduce((sum, { size }) => sum + size, 0);
    const groups = new Map<string, number>();
    for (const { column, size } of columns) {
      const group = GROUPS.find(([names]) => names.test(column))?.[1] ?? "statistics";
      groups.set(group, (groups.get(group) ?? 0) + (size / total) * bytes);
    }
    return groups;
  } finally {
    await clickhouse.command(`DROP DATABASE IF EXISTS ${SCRATCH} SYNC`);
  }
}
