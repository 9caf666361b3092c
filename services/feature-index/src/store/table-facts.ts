import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IndexRecord } from "../catalogue/records.ts";
import { CORPUS_TABLES, INDEX_TABLES, STAGED_TABLES, TABLES_DATABASE, VECTOR_TABLES, stored, storedDatabase, systemTable } from "./tables.ts";

/** Bytes on disk of an index's share of each table, its corpus' tables among them. */
export async function tableBytes(clickhouse: ClickHouse, index: IndexRecord): Promise<Record<string, number>> {
  const rows = await clickhouse.rows<{ table: string; bytes: number }>(
    `SELECT table, sum(bytes_on_disk) AS bytes FROM ${systemTable(clickhouse, "parts")} WHERE database = {database:String} AND active
       AND ((table IN {indexTables:Array(String)} AND partition = {indexId:String}) OR (table IN {corpusTables:Array(String)} AND partition = {corpusId:String}))
     GROUP BY table`,
    { database: storedDatabase(clickhouse), indexTables: INDEX_TABLES, indexId: String(index.indexId), corpusTables: CORPUS_TABLES, corpusId: String(index.corpus.corpusId) },
  );
  return Object.fromEntries(rows.map(({ table, bytes }) => [table, bytes]));
}

/**
 * A hash over the rows of an index in each table: the count of rows, then the sum of the rows' 128-bit hashes, in hex.
 * Rows hold their keys, so equal sums mean equal ordered tables. The numbers of index and corpus are left out: two
 * indexes of the same SAE over the same text have the same hashes. Hashed as tuples: a NULL among arguments would make the hash NULL.
 */
export async function tableChecksums(clickhouse: ClickHouse, index: IndexRecord): Promise<Record<string, string>> {
  const parts: (readonly [string, string, number])[] = [
    ...CORPUS_TABLES.map((table) => [table, "corpus_id", index.corpus.corpusId] as const),
    ...INDEX_TABLES.map((table) => [table, "index_id", index.indexId] as const),
  ];
  const sums: Record<string, string> = {};
  for (const [table, key, id] of parts) {
    const { hash } = await clickhouse.row<{ hash: string }>(
      `SELECT concat(toString(count()), '-', lower(hex(sum(h.1))), lower(hex(sum(h.2)))) AS hash FROM (
         SELECT (sipHash64(1, tuple(* EXCEPT ${key})), sipHash64(2, tuple(* EXCEPT ${key}))) AS h FROM ${TABLES_DATABASE}.${table} WHERE ${key} = {id:UInt32})`,
      { id },
    );
    sums[table] = hash;
  }
  return sums;
}

/** Forgets the rows of an index in these tables. */
export async function dropIndexRows(clickhouse: ClickHouse, indexId: number, tables: readonly string[] = [...INDEX_TABLES, ...STAGED_TABLES, ...VECTOR_TABLES]): Promise<void> {
  for (const table of tables) await dropPartition(clickhouse, table, indexId);
}

/** Forgets the rows of a partition. */
export async function dropPartition(clickhouse: ClickHouse, table: string, id: number): Promise<void> {
  await clickhouse.command(`ALTER TABLE ${stored(clickhouse, table)} DROP PARTITION ID {id:String}`, { id: String(id) });
}

/** Forgets the rows of a corpus. */
export async function dropCorpusRows(clickhouse: ClickHouse, corpusId: number): Promise<void> {
  for (const table of CORPUS_TABLES) await dropPartition(clickhouse, table, corpusId);
}

/** Merges an index's rows of these tables into one part each, which is how they are read fastest. */
export async function mergeIndexRows(clickhouse: ClickHouse, indexId: number, signal: AbortSignal, tables: readonly string[] = INDEX_TABLES): Promise<void> {
  const waiting = [...tables];
  // A merge is one thread's work.
  const lane = async () => {
    for (let table = waiting.shift(); table !== undefined; table = waiting.shift()) {
      await clickhouse.command(`OPTIMIZE TABLE ${stored(clickhouse, table)} PARTITION ID {id:String} FINAL`, { id: String(indexId) }, { signal });
    }
  };
  await Promise.all([lane(), lane()]);
}
