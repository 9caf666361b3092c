import { statfs } from "node:fs/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { GetStorageResponseSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/storage";
import { resourceExhausted } from "@mistral-sae/rpc";
import type { Catalogue } from "../catalogue/catalogue.ts";
import { CORPUS_TABLES, INDEX_TABLES, STAGED_TABLES, VECTOR_TABLES, storedDatabase, systemTable } from "../store/tables.ts";

/** What is measured, and what may be taken. */
export interface StorageFacts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  /** Folder whose disk is told of. */
  readonly data: string;
  /** Most bytes that tables may take; 0 is no limit. */
  readonly budgetBytes: number;
}

/** Merges need room beside what they merge. */
const LEAST_FREE = 256 * 2 ** 20;
const RETRY_MS = 60_000;

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
    ...catalogue.indexes().map(({ id, indexId }) => ({ name: `indexes/${id}`, sizeBytes: sum(rows.filter((row) => isOfIndex(row) && row.partition === String(indexId)), (row) => row.bytes) })),
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
     FROM ${systemTable(clickhouse, "parts")} WHERE database = {database:String} AND active GROUP BY table, partition ORDER BY table, partition`,
    { database: storedDatabase(clickhouse) },
  );
}

/**
 * Refuses more work while the tables take all that they may, or the disk is all but full.
 * @throws RpcError RESOURCE_EXHAUSTED DISK_BUDGET or DISK_FULL.
 */
export async function requireRoom({ clickhouse, data, budgetBytes }: Pick<StorageFacts, "clickhouse" | "data" | "budgetBytes">): Promise<void> {
  const { bavail, bsize } = await statfs(data);
  if (bavail * bsize < LEAST_FREE) throw resourceExhausted("DISK_FULL", `the disk of the feature index has ${bavail * bsize} bytes left, wanted at least ${LEAST_FREE}; make room and try again`, RETRY_MS);
  if (budgetBytes === 0) return;
  const { bytes } = await clickhouse.row<{ bytes: number }>(`SELECT sum(bytes_on_disk) AS bytes FROM ${systemTable(clickhouse, "parts")} WHERE database = {database:String} AND active`, { database: storedDatabase(clickhouse) });
  if (bytes >= budgetBytes) {
    throw resourceExhausted("DISK_BUDGET", `the tables take ${bytes} bytes, and MISTRAL_SAE_FEATURE_INDEX_DISK_MIB lets them take ${budgetBytes}; delete an index or a corpus, or raise it`, RETRY_MS);
  }
}

function isOfIndex({ table }: PartRow): boolean {
  return ([...INDEX_TABLES, ...STAGED_TABLES, ...VECTOR_TABLES] as readonly string[]).includes(table);
}

function isOfCorpus({ table }: PartRow): boolean {
  return (CORPUS_TABLES as readonly string[]).includes(table);
}
