import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { failureOf, type Failure, type FailureDetails } from "./failure.ts";
import { formatTable, type Column } from "./format.ts";
import { messageJson } from "./message-json.ts";
import { startProgress, type Progress, type TextStream } from "./progress.ts";

export { badInput, CliError, ExitCode, failureOf, missing } from "./failure.ts";
export type { Failure, FailureDetails } from "./failure.ts";
export { formatBytes, formatCount, formatFields, formatNumber, formatSeconds, formatTable, oneLine } from "./format.ts";
export type { Column } from "./format.ts";
export { messageJson } from "./message-json.ts";
export type { Progress, ProgressState, TextStream } from "./progress.ts";

/** How a command's results are shown. */
export interface OutputOptions {
  /** Results on stdout as JSON, errors on stderr as one JSON line. */
  readonly json: boolean;
  /** No progress and no notes. */
  readonly quiet: boolean;
  readonly stdout: TextStream;
  readonly stderr: TextStream;
}

/** The one way a command speaks: results on stdout, everything else on stderr. */
export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
  }

  /** The same output without progress and remarks. */
  silenced(): Output {
    return new Output({ json: this.json, quiet: true, stdout: this.#stdout, stderr: this.#stderr });
  }

  /** The command's one result: `value` with --json, else the text that `render` makes of it. */
  result(value: unknown, render: () => string): void {
    if (!this.json) return this.line(render());
    this.line(JSON.stringify(value, jsonValue, 2));
  }

  /** A protobuf message as the result; with --json in protobuf's JSON with the proto's own snake_case names. */
  message<Desc extends DescMessage>(schema: Desc, value: MessageShape<Desc>, render: () => string): void {
    this.result(this.json ? messageJson(schema, value) : undefined, render);
  }

  /** A list as a table, or with --json as an array of what `toValue` makes of each row. */
  table<Row>(rows: readonly Row[], columns: readonly Column<Row>[], toValue: (row: Row) => unknown, empty = "nothing found"): void {
    this.result(this.json ? rows.map(toValue) : undefined, () => (rows.length === 0 ? empty : formatTable(rows, columns)));
  }

  /** One event of a stream: a JSON line with --json, else text written as it is. */
  event(value: unknown, text: string): void {
    this.#stdout.write(this.json ? `${JSON.stringify(value, jsonValue)}\n` : text);
  }

  /** A line on stdout. */
  line(text: string): void {
    this.#stdout.write(`${text}\n`);
  }

  /** A remark on stderr; none when quiet. */
  note(text: string): void {
    if (!this.quiet) this.#stderr.write(`${text}\n`);
  }

  /** A warning on stderr, also when quiet. */
  warn(text: string): void {
    this.#stderr.write(`warning: ${text}\n`);
  }

  /** Shows progress on stderr. */
  progress(label: string): Progress {
    return startProgress(label, this.#stderr, this.quiet);
  }

  /** Tells a failure on stderr and returns the exit code for it. */
  failure(error: unknown, address?: string): number {
    const failure = failureOf(error, address);
    this.#stderr.write(this.json ? `${JSON.stringify({ error: failure }, jsonValue)}\n` : `${failureText(failure)}\n`);
    return failure.exitCode;
  }
}

/** A failure as people read it: the message, then what is known about its place and its cure. */
export function failureText(failure: Failure): string {
  const { file, field, got, wanted, hint }: FailureDetails = failure;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["file", file],
    ["field", field],
    ["got", got === undefined ? undefined : typeof got === "string" ? got : JSON.stringify(got, jsonValue)],
    ["wanted", wanted],
    ["reason", failure.reason],
    ...failure.more.map((line) => ["also", line] as const),
    ["hint", hint],
  ];
  const told = rows.filter(([, value]) => value !== undefined && value !== "");
  return [`error: ${failure.message}`, ...told.map(([name, value]) => `  ${`${name}:`.padEnd(8)}${value ?? ""}`)].join("\n");
}

function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  return value;
}
