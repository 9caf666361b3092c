import { statfs } from "node:fs/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { GetStorageResponseSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { CORPUS_TABLES, TABLES_DATABASE } from "../store/tables.ts";

/** What is measured, and what may be taken. */
export interface StorageFacts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  /** Folder whose disk is told of. */
  readonly data: string;
  /** Most bytes that tables may take; 0 is no limit. */
  readonly budgetBytes: number;
}

interface PartRow {
  readonly table: string;
  readonly partition: string;
  readonly rows: number;
  readonly bytes: number;
  readonly parts: number;
}

/** Bytes on disk by table, and by corpus and index: their tables have a partition for each. */
export async function readUsage({ clickhouse, catalogue, data, budgetBytes }: StorageFacts): Promise<MessageInitShape<typeof GetStorageResponseSchema>> {
  const rows = await readParts(clickhouse);
  const disk = await statfs(data);
  const sum = (parts: readonly PartRow[], pick: (row: PartRow) => number): bigint => BigInt(parts.reduce((total, row) => total + pick(row), 0));
  const tables = [...Map.groupBy(rows, ({ table }) => table)].map(([table, parts]) => ({
    table,
    nRows: sum(parts, (row) => row.rows),
    sizeBytes: sum(parts, (row) => row.bytes),
    nParts: sum(parts, (row) => row.parts),
  }));
  const owners = [
    ...catalogue.corpora().map(({ id, corpusId }) => ({ name: `corpora/${id}`, sizeBytes: sum(rows.filter((row) => isOfCorpus(row) && row.partition === String(corpusId)), (row) => row.bytes) })),
    ...catalogue.indexes().map(({ id, indexId }) => ({ name: `indexes/${id}`, sizeBytes: sum(rows.filter((row) => !isOfCorpus(row) && row.partition === String(indexId)), (row) => row.bytes) })),
  ];
  return {
    tables: tables.sort((a, b) => a.table.localeCompare(b.table)),
    owners: owners.sort((a, b) => Number(b.sizeBytes - a.sizeBytes)),
    sizeBytes: sum(rows, (row) => row.bytes),
    budgetBytes: BigInt(budgetBytes),
    freeBytes: BigInt(disk.bavail) * BigInt(disk.bsize),
  };
}

/** Active parts, summed by table and partition. */
export async function readParts(clickhouse: ClickHouse): Promise<PartRow[]> {
  return await clickhouse.rows<PartRow>(
    `SELECT table, partition_id AS partition, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, count() AS parts
     FROM system.parts WHERE database = {database:String} AND active GROUP BY table, partition ORDER BY table, partition`,
    { database: TABLES_DATABASE },
  );
}

function isOfCorpus({ table }: PartRow): boolean {
  return (CORPUS_TABLES as readonly string[]).includes(table);
}
