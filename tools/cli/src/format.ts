/** A column of a table: its heading, and how a row's cell reads. */
export interface Column<Row> {
  readonly header: string;
  readonly cell: (row: Row) => string | number | bigint | undefined;
  /** Numbers are set to the right by default, text to the left. */
  readonly align?: "left" | "right";
  /** Longest cell; a longer one ends in an ellipsis. Never applied to --json. */
  readonly maxWidth?: number;
}

/** Sets rows in columns, headings in capitals. */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const cells = rows.map((row) => columns.map((column) => cellText(column, row)));
  const right = columns.map((column, at) =>
    column.align === undefined
      ? rows.length > 0 && rows.every((row) => isNumeric(column.cell(row)) || cellText(column, row) === "") && cells.some((line) => line[at] !== "")
      : column.align === "right",
  );
  const widths = columns.map((column, at) => Math.max(displayWidth(column.header), ...cells.map((line) => displayWidth(line[at] ?? ""))));
  const lines = [columns.map((column) => column.header.toUpperCase()), ...cells];
  return lines
    .map((line) => line.map((cell, at) => pad(cell, widths[at] ?? 0, right[at] === true)).join("  ").trimEnd())
    .join("\n");
}

/** Sets names and values one below the other. */
export function formatFields(fields: readonly (readonly [string, string | number | bigint | undefined])[]): string {
  const shown = fields.filter(([, value]) => value !== undefined && value !== "");
  const width = Math.max(0, ...shown.map(([name]) => name.length));
  return shown.map(([name, value]) => `${name.padEnd(width)}  ${showCell(value)}`).join("\n");
}

/** A whole number with thousands separators. */
export function formatCount(value: number | bigint): string {
  return typeof value === "bigint" ? value.toLocaleString("en-US") : Math.round(value).toLocaleString("en-US");
}

/** A number in four significant digits, in powers of ten where it is very large or very small. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-4 || size >= 1e6) ? value.toExponential(3) : String(Number(value.toPrecision(4)));
}

/** Bytes in binary units. */
export function formatBytes(bytes: number | bigint): string {
  let size = Number(bytes);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (size < 1024) return `${unit === "B" ? size : size.toFixed(1)} ${unit}`;
    size /= 1024;
  }
  return `${size.toFixed(1)} TiB`;
}

/** Seconds as 4.2s, 3m07s or 2h05m. */
export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)}s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}m${String(whole % 60).padStart(2, "0")}s`;
  return `${Math.floor(whole / 3600)}h${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")}m`;
}

/** Text on one line with its line breaks and tabs made visible, at most `width` characters. */
export function oneLine(text: string, width = Number.POSITIVE_INFINITY): string {
  const flat = text.replaceAll("\n", "⏎").replaceAll("\r", "␍").replaceAll("\t", "⇥");
  const characters = Array.from(flat);
  return characters.length <= width ? flat : `${characters.slice(0, Math.max(0, width - 1)).join("")}…`;
}

function cellText<Row>(column: Column<Row>, row: Row): string {
  return oneLine(showCell(column.cell(row)), column.maxWidth);
}

function showCell(value: string | number | bigint | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "bigint") return formatCount(value);
  return typeof value === "number" ? formatNumber(value) : value;
}

function isNumeric(value: string | number | bigint | undefined): boolean {
  return typeof value === "number" || typeof value === "bigint" || (typeof value === "string" && /^[+-]?[\d,.]+(?:%|s|\/s)?$/.test(value));
}

function pad(text: string, width: number, right: boolean): string {
  const space = " ".repeat(Math.max(0, width - displayWidth(text)));
  return right ? space + text : text + space;
}

function displayWidth(text: string): number {
  return Array.from(text).length;
}
