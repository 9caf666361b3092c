import { readdirSync, readFileSync } from "node:fs";
import { type ClickHouse, refuseUnsafeSql, SqlError } from "@mistral-sae/clickhouse";
import { Code, invalidArgument, notFound, resourceExhausted, RpcError } from "@mistral-sae/rpc";
import { parseJsonRows, type RowPiece } from "./json-rows.ts";

/** A query of a user. */
export interface UserQuery {
  readonly sql: string;
  /** Name of a saved query, instead of sql. */
  readonly savedQuery: string;
  readonly parameters: Readonly<Record<string, string>>;
  /** 0 for as many as the server allows. */
  readonly maxRows: number;
}

const ARROW_PIECE = 1 << 20;

/** Runs read-only SQL as the restricted user. */
export class UserQueries {
  readonly #analyst: ClickHouse;
  readonly #saved: ReadonlyMap<string, string>;
  readonly #most: number;
  #running = 0;

  /** At most `most` queries at a time; `folder` holds the saved ones, NAME.sql. */
  constructor(analyst: ClickHouse, folder: URL, most: number) {
    this.#analyst = analyst;
    this.#most = most;
    this.#saved = new Map(readdirSync(folder).filter((file) => file.endsWith(".sql")).map((file) => [file.slice(0, -4), readFileSync(new URL(file, folder), "utf8")]));
  }

  /** Rows as JSON objects, one a line. Rejects with RpcErrors; an abort ends the query on the server too. */
  async *json(query: UserQuery, signal: AbortSignal): AsyncIterable<RowPiece> {
    const limit = query.maxRows === 0 ? Infinity : query.maxRows;
    yield* this.#guarded(signal, () => parseJsonRows(this.#bytes(query, "JSONEachRowWithProgress", signal), limit));
  }

  /** Bytes of an Arrow IPC stream, cut anywhere. */
  async *arrow(query: UserQuery, signal: AbortSignal): AsyncIterable<Uint8Array> {
    yield* this.#guarded(signal, () => pieces(this.#bytes(query, "ArrowStream", signal), ARROW_PIECE));
  }

  #bytes(query: UserQuery, format: string, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const sql = this.#statement(query);
    refuseUnsafeSql(sql);
    // Arrow is cut by the server, JSON where its rows are counted.
    const whole = format === "ArrowStream" && query.maxRows > 0 ? `SELECT * FROM (${sql}\n) LIMIT ${query.maxRows}` : sql;
    return this.#analyst.bytes(whole, format, query.parameters, { signal });
  }

  #statement({ sql, savedQuery }: UserQuery): string {
    if ((sql.trim() === "") === (savedQuery === "")) throw invalidArgument("sql", "wanted one of sql and saved_query");
    if (savedQuery === "") return sql.replace(/;\s*$/, "");
    const saved = this.#saved.get(savedQuery);
    if (saved === undefined) throw notFound(`saved query ${JSON.stringify(savedQuery)}`, `does not exist; there are ${[...this.#saved.keys()].join(", ")}`);
    return saved.trim().replace(/;$/, "");
  }

  async *#guarded<T>(signal: AbortSignal, run: () => AsyncIterable<T>): AsyncIterable<T> {
    if (this.#running >= this.#most) throw resourceExhausted("TOO_MANY_QUERIES", `${this.#running} queries are running, wanted at most ${this.#most}`);
    this.#running += 1;
    try {
      yield* run();
    } catch (error) {
      signal.throwIfAborted();
      throw queryError(error);
    } finally {
      this.#running -= 1;
    }
  }
}

/** What ClickHouse says of a user's query → the code that its caller understands. */
function queryError(error: unknown): unknown {
  if (!(error instanceof SqlError)) return error;
  const message = error.message;
  switch (error.failure) {
    case "statement":
      return invalidArgument("sql", message, error.type || "INVALID_SQL");
    case "permission":
      return new RpcError(Code.PermissionDenied, message, { reason: error.type || "ACCESS_DENIED", cause: error });
    case "time":
      return new RpcError(Code.DeadlineExceeded, message, { reason: error.type, cause: error });
    case "size":
    case "memory":
      // No retryDelayMs: the same query will not fit later either.
      return new RpcError(Code.ResourceExhausted, message, { reason: error.type, cause: error });
    case "cancelled":
      return new RpcError(Code.Canceled, message, { reason: "CANCELLED", cause: error });
    default:
      return new RpcError(Code.InvalidArgument, message, { reason: error.type || "QUERY_FAILED", cause: error });
  }
}

async function* pieces(bytes: AsyncIterable<Uint8Array>, size: number): AsyncIterable<Uint8Array> {
  for await (const chunk of bytes) for (let at = 0; at < chunk.length; at += size) yield chunk.subarray(at, at + size);
}
