import { type Attributes, logs, SeverityNumber, trace } from "@opentelemetry/api";

/** How much a line matters, least first. */
export const logLevels = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** Facts of a log line. Errors become their name, message and stack. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Writes structured lines. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Where lines go and which are written. */
export interface LoggerOptions {
  /** Default MISTRAL_SAE_LOG_LEVEL, else "info". */
  readonly level?: LogLevel;
  /** Takes whole lines; default standard error. */
  readonly write?: (line: string) => void;
}

const severities: Readonly<Record<Exclude<LogLevel, "silent">, SeverityNumber>> = {
  debug: SeverityNumber.DEBUG,
  info: SeverityNumber.INFO,
  warn: SeverityNumber.WARN,
  error: SeverityNumber.ERROR,
};

/** The level named by the environment. Throws on a name that is none. */
export function logLevel(env: Readonly<Record<string, string | undefined>> = process.env): LogLevel {
  const name = env["MISTRAL_SAE_LOG_LEVEL"] ?? "info";
  const level = logLevels.find((known) => known === name);
  if (level === undefined) throw new Error(`MISTRAL_SAE_LOG_LEVEL is "${name}", want one of ${logLevels.join(", ")}`);
  return level;
}

/**
 * A logger whose lines are JSON objects: time, level, logger, message, trace_id and span_id of the span under way,
 * then the fields. Lines also go to the OpenTelemetry logs, where those are exported. Values of fields whose names
 * hold "key", "secret", "token" (as a whole word), "password" or "authorization" are replaced.
 */
export function createLogger(name: string, options: LoggerOptions = {}): Logger {
  const least = logLevels.indexOf(options.level ?? logLevel());
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const log = (level: Exclude<LogLevel, "silent">, message: string, fields: LogFields = {}): void => {
    if (logLevels.indexOf(level) < least) return;
    const span = trace.getActiveSpan()?.spanContext();
    const ids = span === undefined ? {} : { trace_id: span.traceId, span_id: span.spanId };
    const safe = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plain(key, value)]));
    write(`${stringify({ time: new Date().toISOString(), level, logger: name, message, ...ids, ...safe })}\n`);
    const attributes = Object.fromEntries(Object.entries(safe).map(([key, value]) => [key, attribute(value)])) as Attributes;
    logs.getLogger(name).emit({
      severityNumber: severities[level],
      severityText: level.toUpperCase(),
      body: message,
      attributes,
    });
  };
  return {
    debug: (message, fields) => log("debug", message, fields),
    info: (message, fields) => log("info", message, fields),
    warn: (message, fields) => log("warn", message, fields),
    error: (message, fields) => log("error", message, fields),
  };
}

const secretName = /key|secret|password|authorization|^token$|_token$|Token$/;

function plain(key: string, value: unknown): unknown {
  if (secretName.test(key)) return "[redacted]";
  if (value instanceof Error) return { name: value.name, message: value.message, stack: value.stack };
  return value;
}

function attribute(value: unknown): string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? value : stringify(value);
}

function stringify(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? inner.toString() : inner)) ?? "null";
}
