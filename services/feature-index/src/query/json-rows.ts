/** Some rows of a result. */
export interface RowPiece {
  /** JSON objects, one a line. */
  readonly data: Uint8Array;
  readonly nRows: number;
  /** In the first piece. */
  readonly columns: readonly { readonly name: string; readonly type: string }[];
}

const ROW = '{"row":';
const META = '{"meta":';

/**
 * Rows out of ClickHouse's JSONEachRowWithProgress: each line is an object with one key; `meta` lists the columns, `row` is
 * a row, the others are left out. Stops after `limit` rows. There is always a first piece, also of a result without rows.
 */
export async function* parseJsonRows(bytes: AsyncIterable<Uint8Array>, limit: number): AsyncIterable<RowPiece> {
  const decoder = new TextDecoder();
  let rest = "";
  let columns: RowPiece["columns"] = [];
  let total = 0;
  let rows: string[] = [];
  let sent = false;
  const take = (): RowPiece => {
    const data = new TextEncoder().encode(rows.map((row) => `${row}\n`).join(""));
    const piece = { data, nRows: rows.length, columns: sent ? [] : columns };
    rows = [];
    sent = true;
    return piece;
  };
  for await (const chunk of bytes) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith(META)) columns = (JSON.parse(line) as { meta: RowPiece["columns"] }).meta;
      if (!line.startsWith(ROW) || total === limit) continue;
      const row = line.slice(ROW.length, -1);
      rows.push(row);
      total += 1;
    }
    // As they come, so that the first rows of a long query are seen early.
    if (rows.length > 0) yield take();
    if (total === limit) break;
  }
  if (!sent || rows.length > 0) yield take();
}
