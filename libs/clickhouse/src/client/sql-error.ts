import { ClickHouseError } from "@clickhouse/client";

/** What a failed query means for its caller; `connection`: the server was not there, and may be later. */
export type SqlFailure = "connection" | "cancelled" | "time" | "size" | "memory" | "permission" | "statement" | "server";

// https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
const CODES: Readonly<Record<SqlFailure, readonly number[]>> = {
  // One server of a cluster did not reach another, or the keeper.
  connection: [210, 225, 242, 279, 285, 319, 999],
  cancelled: [394, 734, 735],
  time: [159, 160, 209],
  size: [158, 191, 307, 396],
  memory: [241],
  permission: [164, 344, 358, 452, 497],
  statement: [6, 10, 15, 16, 27, 32, 36, 38, 41, 42, 43, 44, 46, 47, 48, 50, 52, 53, 60, 62, 63, 70, 72, 80, 81, 115, 124, 130, 131, 153, 179, 183, 184, 190, 207, 215, 349, 352, 386, 403, 407, 441, 446, 456, 457, 477, 636, 706],
  server: [],
};

/** A query that ClickHouse refused or broke off. */
export class SqlError extends Error {
  override readonly name = "SqlError";
  readonly failure: SqlFailure;
  /** ClickHouse's code; 0 where it gave none. */
  readonly code: number;
  /** ClickHouse's name of the code, e.g. UNKNOWN_IDENTIFIER. */
  readonly type: string;

  constructor(message: string, failure: SqlFailure, code = 0, type = "", options?: ErrorOptions) {
    super(message, options);
    this.failure = failure;
    this.code = code;
    this.type = type;
  }
}

/** Errors of the client → SqlError; an abort of the caller → `cancelled`; others stay as they are. */
export function toSqlError(error: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted === true) return new SqlError("the query was cancelled", "cancelled", 394, "QUERY_WAS_CANCELLED", { cause: error });
  if (!(error instanceof ClickHouseError)) return isConnectionError(error) ? new SqlError(`ClickHouse is away: ${(error as Error).message}`, "connection", 0, "", { cause: error }) : error;
  const code = Number(error.code);
  const known = PEER_LOST.test(error.message) ? "connection" : (Object.keys(CODES) as SqlFailure[]).find((failure) => CODES[failure].includes(code));
  return new SqlError(error.message.replaceAll(/ ?\(version [^)]*\)/g, "").trim(), known ?? "server", code, error.type, { cause: error });
}

// What a server of a cluster says when another one ends in the middle of its answer, or itself; the codes mean other things too.
const PEER_LOST = /while (?:receiving packet from|reading from socket|writing to socket)|[Ss]erver is shutting down/;
const SOCKET_CODES = new Set(["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH", "ERR_STREAM_PREMATURE_CLOSE"]);

/** Whether the server was not reached, or the connection to it broke. */
function isConnectionError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ("code" in error && SOCKET_CODES.has(String(error.code))) return true;
  return /socket hang up|Timeout error|other side closed/.test(error.message);
}
