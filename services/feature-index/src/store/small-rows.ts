import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type RowCursor, RowReader } from "./row-reader.ts";

/** What each field of a row is in SQL, and how it is read. */
export type Columns<Row> = { readonly [Field in keyof Row]: readonly [sql: string, read: (row: RowCursor) => Row[Field]] };

/**
 * Settings of queries that read a few rows by their key. One thread: more would only divide a few granules. What was
 * decompressed is kept, because pages of one index read from the same blocks.
 */
const POINT_READ = { max_threads: 1, use_uncompressed_cache: 1 } as const;

/** Rows of a query that reads a few of them by their key; `from` is all of it behind the columns. */
export async function smallRows<Row>(clickhouse: ClickHouse, columns: Columns<Row>, from: string, params: Readonly<Record<string, number | readonly number[]>>): Promise<Row[]> {
  const fields = Object.entries(columns) as [keyof Row, Columns<Row>[keyof Row]][];
  const rows: Row[] = [];
  const reader = new RowReader((cursor) => {
    const row: Partial<Row> = {};
    for (const [field, [, read]] of fields) row[field] = read(cursor);
    rows.push(row as Row);
  });
  reader.push(await clickhouse.small(`SELECT ${fields.map(([, [sql]]) => sql).join(", ")} ${from}`, params, POINT_READ));
  reader.end();
  return rows;
}
