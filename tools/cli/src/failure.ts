/** What the process ends with. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  badInput: 2,
  notFound: 3,
  unavailable: 4,
  interrupted: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Where the fault lies, and what to do about it. */
export interface FailureDetails {
  readonly file?: string | undefined;
  readonly field?: string | undefined;
  readonly got?: unknown;
  readonly wanted?: string | undefined;
  readonly hint?: string | undefined;
}

/** A failure that the command itself found, with the code the process ends with. */
export class CliError extends Error {
  readonly exitCode: ExitCode;
  readonly details: FailureDetails;

  constructor(message: string, exitCode: ExitCode, details: FailureDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CliError";
    this.exitCode = exitCode;
    this.details = details;
  }
}

/** Bad input or bad usage. */
export function badInput(message: string, details: FailureDetails = {}): CliError {
  return new CliError(message, ExitCode.badInput, details);
}

/** The thing asked for does not exist. */
export function missing(message: string, details: FailureDetails = {}): CliError {
  return new CliError(message, ExitCode.notFound, details);
}

/** A failure as it is told to the user. */
export interface Failure extends FailureDetails {
  readonly message: string;
  readonly exitCode: ExitCode;
  /** Machine-readable reason, when the far side gave one. */
  readonly reason?: string | undefined;
  /** Further faults, one line each. */
  readonly more: readonly string[];
}

interface RemoteFields {
  readonly code: number;
  readonly rawMessage?: unknown;
  readonly reason?: unknown;
  readonly violations?: unknown;
}

// gRPC's status codes.
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const UNAVAILABLE = 14;
const EXIT_OF_CODE: ReadonlyMap<number, ExitCode> = new Map<number, ExitCode>([
  [CANCELLED, ExitCode.interrupted],
  [3, ExitCode.badInput],
  [DEADLINE_EXCEEDED, ExitCode.unavailable],
  [NOT_FOUND, ExitCode.notFound],
  [6, ExitCode.badInput],
  [7, ExitCode.badInput],
  [8, ExitCode.unavailable],
  [9, ExitCode.badInput],
  [11, ExitCode.badInput],
  [UNAVAILABLE, ExitCode.unavailable],
]);

/** Reads any thrown value as a failure. @param address the server that was called, named when it could not be reached. */
export function failureOf(error: unknown, address?: string): Failure {
  if (error instanceof CliError) return { message: error.message, exitCode: error.exitCode, ...error.details, more: [] };
  if (!(error instanceof Error)) return { message: String(error), exitCode: ExitCode.failure, more: [] };
  if (error.name === "AbortError") return { message: "interrupted", exitCode: ExitCode.interrupted, more: [] };
  if (error.name === "InputError") return { ...detailsOf(error), message: summaryOf(error), exitCode: ExitCode.badInput, more: [] };
  if (error.name === "HubError") return { message: error.message, exitCode: ExitCode.unavailable, hint: "run the command again: what has come is kept", more: [] };
  if (error.name === "RpcError" || error.name === "ConnectError") return remoteFailure(error, address);
  return { ...fileFailure(error), message: error.message, more: [] };
}

/** An InputError's sentence without its details, which are told one by one. */
function summaryOf(error: Error): string {
  return "summary" in error && typeof error.summary === "string" ? error.summary : error.message;
}

function detailsOf(error: Error): FailureDetails {
  const source = error as Error & { readonly [K in keyof FailureDetails]?: unknown };
  const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
  return { file: text(source.file), field: text(source.field), got: source.got, wanted: text(source.wanted), hint: text(source.hint) };
}

function remoteFailure(error: Error, address: string | undefined): Failure {
  const { code, rawMessage, reason, violations } = error as Error & RemoteFields;
  const rows = Array.isArray(violations) ? (violations as readonly { field?: string; description?: string }[]) : [];
  const [first, ...rest] = rows;
  const message = typeof rawMessage === "string" ? rawMessage : error.message;
  const unreachable = code === UNAVAILABLE && (reason === undefined || reason === "" || reason === "CONNECTION_LOST");
  return {
    message: unreachable && address !== undefined ? `cannot reach ${address}: ${message}` : message,
    exitCode: EXIT_OF_CODE.get(code) ?? ExitCode.failure,
    field: first?.field === "" ? undefined : first?.field,
    reason: typeof reason === "string" && reason !== "" && !unreachable ? reason : undefined,
    hint: unreachable ? "start the services with `mistral-sae up`, or name a running gateway with --address HOST:PORT" : undefined,
    more: rest.map((row) => `${row.field ?? ""}: ${row.description ?? ""}`),
  };
}

function fileFailure(error: Error): FailureDetails & { exitCode: ExitCode } {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return { exitCode: ExitCode.notFound, file: path, hint: "check the path" };
  if (code === "EACCES" || code === "EISDIR" || code === "ENOTDIR") return { exitCode: ExitCode.badInput, file: path };
  return { exitCode: ExitCode.failure };
}
