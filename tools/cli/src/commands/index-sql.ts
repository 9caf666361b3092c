import { QueryFormat } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Command } from "commander";
import { readFileSync } from "node:fs";
import { connect } from "../clients.ts";
import { integer, repeated, run } from "../command.ts";
import { badInput, formatTable } from "../output.ts";
import { textArgument } from "../sampling-options.ts";

interface SqlOptions {
  readonly param?: readonly string[];
  readonly maxRows: number;
  readonly file?: string;
}

/** `index sql`. */
export function registerSqlVerb(index: Command): void {
  index
    .command("sql")
    .description("Run read-only SQL over the views activations, features, documents, explanations and training_metrics. --json prints one row a line.")
    .argument("[statement]", "one SELECT statement; - reads standard input")
    .option("--file <path>", "read the statement from a file")
    .option("--param <name=value>", "value of a {name:Type} parameter; may be given again", repeated)
    .option("--max-rows <n>", "rows at most", integer({ min: 1 }), 1000)
    .addHelpText("after", '\nExample:\n  mistral-sae index sql "SELECT feature_index, max_activation FROM features ORDER BY max_activation DESC LIMIT 5"')
    .action(
      run(async ({ output, signal, address }, statement: string | undefined, options: SqlOptions) => {
        const sql = statementOf(statement, options.file);
        const rows: Record<string, unknown>[] = [];
        let columns: readonly string[] = [];
        const pieces = connect(address).featureIndex.query(
          { sql, parameters: parametersOf(options.param ?? []), format: QueryFormat.JSON_ROWS, maxRows: BigInt(options.maxRows) },
          { signal },
        );
        for await (const piece of pieces) {
          if (piece.columnNames.length > 0) columns = piece.columnNames;
          for (const line of new TextDecoder().decode(piece.data).split("\n")) {
            if (line === "") continue;
            if (output.json) output.line(line);
            else rows.push(JSON.parse(line) as Record<string, unknown>);
          }
        }
        if (output.json) return;
        const headers = columns.length > 0 ? columns : Object.keys(rows[0] ?? {});
        output.line(rows.length === 0 ? "no rows" : formatTable(rows, headers.map((header) => ({ header, cell: (row: Record<string, unknown>) => cellOf(row[header]), maxWidth: 80 }))));
        if (rows.length === options.maxRows) output.note(`stopped at ${options.maxRows} rows; ask for more with --max-rows`);
      }),
    );
}

function statementOf(statement: string | undefined, file: string | undefined): string {
  if (file !== undefined && statement !== undefined) throw badInput("a statement and --file cannot both be given");
  if (file !== undefined) return readFileSync(file, "utf8");
  if (statement === undefined) throw badInput("no statement", { field: "statement", wanted: "one SELECT statement, or --file" });
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
