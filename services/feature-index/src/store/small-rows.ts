import type { ClickHouse } from "@mistral-sae/clickhouse";
import { type RowCursor, RowReader } from "./row-reader.ts";

/** What each field of a row is in SQL, and how it is read. */
export type Columns<Row> = { readonly [Field in keyof Row]: readonly [sql: string, read: (row: RowCursor) => Row[Field]] };

/**
 * Settings of queries that read a few rows by their key. One thread: more would only divide a few granules. What was
 * decompressed is kept, because pages of one index read from the same blocks. Without the analyzer: it takes a tenth of their
 * time and finds nothing in them.
 */
const POINT_READ = { max_threads: 1, use_uncompressed_cache: 1, enable_analyzer: 0 } as const;

/** Rows of a query that reads a few of them by their key; `from` is all of it behind the columns. */
export async function smallRows<Row>(clickhouse: ClickHouse, columns: Columns<Row>, from: string, params: Readonly<Record<string, number | readonly number[]>>): Promise<Row[]> {
  const rows: Row[] = [];
  const reader = new RowReader((cursor) => rows.push(readRow(columns, cursor)));
  reader.push(await clickhouse.small(`SELECT ${sqlOf(columns)} ${from}`, params, POINT_READ));
  reader.end();
  return rows;
}

/** The columns of a query, or the values of a tuple. */
export function sqlOf<Row>(columns: Columns<Row>): string {
  return (Object.values(columns) as Columns<Row>[keyof Row][]).map(([sql]) => sql).join(", ");
}

/** The row that a cursor stands at. */
export function readRow<Row>(columns: Columns<Row>, cursor: RowCursor): Row {
  const row: Partial<Row> = {};
  for (const field in columns) row[field] = columns[field][1](cursor);
  return row as Row;
}
