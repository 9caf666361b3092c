import type { MessageInitShape } from "@bufbuild/protobuf";
import { CompactStorageRequestSchema, GetStorageResponseSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import { defineJob, type Job } from "@mistral-sae/jobs";
import { orUnavailable } from "../clickhouse-away.ts";
import { CORPUS_TABLES, INDEX_TABLES, SAE_TABLES, STAGED_TABLES, VECTOR_TABLES, stored, storedDatabase } from "../store/tables.ts";
import { readParts, readUsage, type StorageFacts } from "./usage.ts";

interface TableShard {
  readonly table: string;
}

/**
 * The job behind CompactStorage: partitions whose corpus or index is gone are dropped, and each table is merged, which also
 * forgets replaced rows. A shard is a table. Its response tells what is left.
 */
export function compactJob(facts: StorageFacts): Job {
  const { clickhouse, catalogue } = facts;
  const owners: readonly (readonly [readonly string[], () => readonly number[]])[] = [
    [CORPUS_TABLES, () => catalogue.corpora().map(({ corpusId }) => corpusId)],
    [[...INDEX_TABLES, ...STAGED_TABLES, ...VECTOR_TABLES], () => catalogue.indexes().map(({ indexId }) => indexId)],
    [SAE_TABLES, () => catalogue.saes().map(({ saeId }) => saeId)],
  ];
  return defineJob<typeof CompactStorageRequestSchema, typeof GetStorageResponseSchema, TableShard, null>({
    kind: "compact-storage",
    input: CompactStorageRequestSchema,
    output: GetStorageResponseSchema,
    plan: () =>
      orUnavailable(async () => {
        const tables = await clickhouse.rows<{ table: string }>("SELECT name AS table FROM system.tables WHERE database = {database:String} AND engine LIKE '%MergeTree' ORDER BY name", { database: storedDatabase(clickhouse) });
        return tables.map(({ table }) => ({ table }));
      }),
    run: ({ table }, { signal }) =>
      orUnavailable(async () => {
        const owned = owners.find(([tables]) => tables.includes(table));
        if (owned !== undefined) {
          const parts = await readParts(clickhouse);
          // Read after the parts: what was begun meanwhile is known by then.
          const known = new Set(owned[1]().map(String));
          for (const { partition } of parts.filter((row) => row.table === table && !known.has(row.partition))) {
            await clickhouse.command(`ALTER TABLE ${stored(clickhouse, table)} DROP PARTITION ID {id:String}`, { id: partition }, { signal });
          }
        }
        await clickhouse.command(`OPTIMIZE TABLE ${stored(clickhouse, table)} FINAL`, {}, { signal });
        return null;
      }),
    reduce: (): Promise<MessageInitShape<typeof GetStorageResponseSchema>> => orUnavailable(async () => await readUsage(facts)),
  });
}
