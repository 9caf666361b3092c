import { readFileSync } from "node:fs";
import { QueryFormat, type QueryResponse } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { Option, type Command } from "commander";
import { connect } from "../clients.ts";
import { integer, repeated, run, type CommandContext } from "../command.ts";
import { badInput, formatCount, formatTable } from "../output.ts";
import { resourceName } from "../resources.ts";
import { textArgument } from "../sampling-options.ts";
import { ResultTarget } from "../sql/result-target.ts";
import { csvWriter, jsonWriter } from "../sql/row-writer.ts";

type Format = "table" | "json" | "csv" | "arrow";

interface SqlOptions {
  readonly saved?: string;
  readonly file?: string;
  readonly param?: readonly string[];
  readonly maxRows?: number;
  readonly format?: Format;
  readonly output?: string;
}

// Rows that a terminal shows when nobody says how many.
const TABLE_ROWS = 1_000;

/** `index sql`. */
export function registerSqlVerb(index: Command): void {
  index
    .command("sql")
    .description("Run read-only SQL over the views activations, features, examples, documents, sequences, tokens, explanations, indexes and training_metrics.")
    .argument("[statement]", "one SELECT statement; - reads standard input")
    .option("--saved <name>", "a saved query instead; `index queries ls` lists them")
    .option("--file <path>", "read the statement from a file")
    .option("--param <name=value>", "value of a {name:Type} parameter; may be given again", repeated)
    .option("--max-rows <n>", `rows at most (default: ${TABLE_ROWS} for a table, else what the server allows)`, integer({ min: 1 }))
    .addOption(new Option("--format <format>", "table, json (an object a line), csv or arrow (an IPC stream)").choices(["table", "json", "csv", "arrow"]))
    .option("--output <file>", "write the result there (default format: csv)")
    .addHelpText("after", '\nExamples:\n  mistral-sae index sql "DESCRIBE features"\n  mistral-sae index sql "SELECT feature_index, max_activation FROM features ORDER BY max_activation DESC LIMIT 5"\n  mistral-sae index sql --saved top-contexts --param index=indexes/a --param feature=7 --param limit=10')
    .action(run(sql));
}

async function sql(context: CommandContext, statement: string | undefined, options: SqlOptions): Promise<void> {
  const { output, signal, address } = context;
  const format = options.format ?? (output.json ? "json" : options.output === undefined ? "table" : "csv");
  if (format === "table" && options.output !== undefined) throw badInput("a table is for reading", { field: "--format", got: format, wanted: "csv, json or arrow with --output" });
  const maxRows = options.maxRows ?? (format === "table" ? TABLE_ROWS : 0);
  const pieces = connect(address).featureIndex.query(
    {
      ...(options.saved === undefined ? { sql: statementOf(statement, options.file) } : { savedQuery: savedName(options, statement) }),
      parameters: parametersOf(options.param ?? []),
      format: format === "arrow" ? QueryFormat.ARROW_STREAM : QueryFormat.JSON_ROWS,
      maxRows: BigInt(maxRows),
    },
    { signal },
  );
  if (format === "table") await showTable(context, pieces, maxRows);
  else await writeResult(context, pieces, format, options.output);
}

async function showTable({ output }: CommandContext, pieces: AsyncIterable<QueryResponse>, maxRows: number): Promise<void> {
  const rows: Record<string, unknown>[] = [];
  let columns: readonly string[] = [];
  for await (const piece of pieces) {
    if (piece.columnNames.length > 0) columns = piece.columnNames;
    for (const line of linesOf(piece)) rows.push(JSON.parse(line) as Record<string, unknown>);
  }
  output.line(rows.length === 0 ? "no rows" : formatTable(rows, columns.map((header) => ({ header, cell: (row: Record<string, unknown>) => cellOf(row[header]), maxWidth: 80 }))));
  if (rows.length === maxRows) output.note(`stopped at ${maxRows} rows; ask for more with --max-rows`);
}

/** Piece by piece, so that a large result takes no memory. */
async function writeResult({ output }: CommandContext, pieces: AsyncIterable<QueryResponse>, format: Exclude<Format, "table">, path: string | undefined): Promise<void> {
  const writer = format === "csv" ? csvWriter() : jsonWriter;
  let rows = 0n;
  {
    await using target = await ResultTarget.open(path, format === "arrow");
    for await (const piece of pieces) {
      rows += piece.nRows;
      await target.write(format === "arrow" ? piece.data : writer.rows(linesOf(piece), piece.columnNames));
    }
  }
  if (path !== undefined) output.note(format === "arrow" ? `${path} is written` : `${path}: ${formatCount(rows)} rows`);
}

function linesOf({ data }: QueryResponse): string[] {
  return new TextDecoder().decode(data).split("\n").filter((line) => line !== "");
}

function savedName({ saved = "", file }: SqlOptions, statement: string | undefined): string {
  if (statement !== undefined || file !== undefined) throw badInput("a statement and --saved cannot both be given");
  return resourceName("savedQueries", saved);
}

/** The statement given, or the one in a file. */
export function statementOf(statement: string | undefined, file: string | undefined): string {
  if (file !== undefined && statement !== undefined) throw badInput("a statement and --file cannot both be given");
  if (file !== undefined) return readFileSync(file, "utf8");
  if (statement === undefined) throw badInput("no statement", { field: "statement", wanted: "one SELECT statement, --file or --saved" });
  return textArgument(statement, "statement");
}

function parametersOf(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf("=");
      if (at <= 0) throw badInput("not a parameter", { field: "--param", got: text, wanted: "name=value" });
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

function cellOf(value: unknown): string | number {
  if (typeof value === "number" || typeof value === "string") return value;
  return value === null || value === undefined ? "" : JSON.stringify(value);
}
