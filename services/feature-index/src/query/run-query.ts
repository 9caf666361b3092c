import { type ClickHouse, restrictedSql } from "@mistral-sae/clickhouse";
import { invalidArgument, resourceExhausted } from "@mistral-sae/rpc";
import { parseJsonRows, type RowPiece } from "./json-rows.ts";
import { checkParameters } from "./parameters.ts";
import { queryError } from "./query-error.ts";
import type { SavedQueries } from "./saved-queries.ts";

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
const RETRY_MS = 1_000;

/** Runs read-only SQL as the restricted user. */
export class UserQueries {
  readonly #analyst: ClickHouse;
  readonly #saved: SavedQueries;
  readonly #most: number;
  #running = 0;

  /** At most `most` queries at a time. */
  constructor(analyst: ClickHouse, saved: SavedQueries, most: number) {
    this.#analyst = analyst;
    this.#saved = saved;
    this.#most = most;
  }

  /** Rows as JSON objects, one a line. Rejects with RpcErrors; an abort ends the query on the server too. */
  async *json(query: UserQuery, signal: AbortSignal): AsyncIterable<RowPiece> {
    const limit = query.maxRows === 0 ? Infinity : query.maxRows;
    yield* this.#guarded(signal, () => parseJsonRows(this.#analyst.bytes(this.#statement(query), "JSONEachRowWithProgress", query.parameters, { signal }), limit));
  }

  /** Bytes of an Arrow IPC stream, cut anywhere. */
  async *arrow(query: UserQuery, signal: AbortSignal): AsyncIterable<Uint8Array> {
    yield* this.#guarded(signal, () => pieces(this.#analyst.bytes(limited(this.#statement(query), query.maxRows), "ArrowStream", query.parameters, { signal }), ARROW_PIECE));
  }

  #statement({ sql, savedQuery, parameters }: UserQuery): string {
    if ((sql.trim() === "") === (savedQuery === "")) throw invalidArgument("sql", "wanted one of sql and saved_query");
    const statement = restrictedSql(savedQuery === "" ? sql : this.#saved.get(savedQuery).sql, parameters);
    checkParameters(statement, parameters);
    return statement;
  }

  async *#guarded<T>(signal: AbortSignal, run: () => AsyncIterable<T>): AsyncIterable<T> {
    if (this.#running >= this.#most) throw resourceExhausted("TOO_MANY_QUERIES", `${this.#running} queries are running, wanted at most ${this.#most} at a time; try again when one has ended`, RETRY_MS);
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

/** A statement whose rows are cut by the server, where it is one that can be nested; the others tell of views, in few rows. */
function limited(statement: string, maxRows: number): string {
  return maxRows > 0 && /^(?:select|with|from|\()/i.test(statement) ? `SELECT * FROM (${statement}\n) LIMIT ${maxRows}` : statement;
}

async function* pieces(bytes: AsyncIterable<Uint8Array>, size: number): AsyncIterable<Uint8Array> {
  for await (const chunk of bytes) for (let at = 0; at < chunk.length; at += size) yield chunk.subarray(at, at + size);
}
