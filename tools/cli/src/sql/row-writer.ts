/** Rows of a query as text for a file or a pipe. */
export interface RowWriter {
  /** What a piece of the result adds: its rows as JSON objects, one a line. */
  rows(lines: readonly string[], columns: readonly string[]): string;
}

/** One JSON object a line, as they come. */
export const jsonWriter: RowWriter = { rows: (lines) => lines.map((line) => `${line}\n`).join("") };

/**
 * A header and a record a row: RFC 4180 with lines that end in \n. Arrays, maps and tuples stand as JSON; NULL is empty.
 */
export function csvWriter(): RowWriter {
  let header: readonly string[] = [];
  return {
    rows: (lines, columns) => {
      let text = "";
      if (header.length === 0 && columns.length > 0) {
        header = columns;
        text = record(columns);
      }
      for (const line of lines) {
        const row = JSON.parse(line) as Record<string, unknown>;
        text += record(header.map((column) => row[column]));
      }
      return text;
    },
  };
}

function record(values: readonly unknown[]): string {
  return `${values.map(field).join(",")}\n`;
}

function field(value: unknown): string {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
