import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import { type ClickHouseClient, type ClickHouseSettings, createClient } from "@clickhouse/client";
import { CLUSTER_SETTINGS, onCluster, splitClusterUrl } from "../cluster/cluster.ts";
import { encodeNativeBlock, type NativeColumn } from "../native/native-block.ts";
import type { Login } from "../server/server-files.ts";
import { exceptionGuard } from "./exception-guard.ts";
import { type SmallParams, SmallReads } from "./small-reads.ts";
import { toSqlError } from "./sql-error.ts";

/** Values of `{name:Type}` parameters. */
export type SqlParams = Readonly<Record<string, unknown>>;

/** How one query runs. */
export interface SqlCall {
  /** Aborting it rejects the call and kills the query on the server. */
  readonly signal?: AbortSignal | undefined;
  readonly settings?: ClickHouseSettings;
}

/** How an insert runs. */
export interface InsertCall extends SqlCall {
  /** A second insert with this token into the same table is not stored: makes a retry harmless. */
  readonly deduplicationToken?: string;
}

/** How to connect. */
export interface ClickHouseOptions {
  /** Of a server, or, made by `urlInCluster`, of one that stands for its cluster. */
  readonly url: string;
  readonly login: Login;
  readonly database?: string;
  readonly maxConnections?: number;
  /** Longest silence of the server, in milliseconds. */
  readonly requestTimeoutMs?: number;
  /** False for a user in readonly mode, who may send no settings. */
  readonly mayChangeSettings?: boolean;
  /** Kills the queries of this client; default itself. */
  readonly killer?: ClickHouse;
}

export const clickHouseDefaults = { maxConnections: 16, requestTimeoutMs: 600_000, mayChangeSettings: true } as const;

// An abort may reach the server before the query it is to kill.
const KILL_AGAIN_AFTER_MS = 200;

/** SQL over HTTP: the one place where queries, inserts and their settings are made. Failures reject with SqlError. */
export class ClickHouse implements AsyncDisposable {
  readonly #client: ClickHouseClient;
  readonly #control: ClickHouseClient;
  readonly #ownsControl: boolean;
  readonly #settings: ClickHouseSettings;
  readonly #small: SmallReads;
  /** Name of the cluster that the server stands for. */
  readonly cluster: string | undefined;

  constructor(options: ClickHouseOptions) {
    const { url, cluster } = splitClusterUrl(options.url);
    this.cluster = cluster;
    const { login, database, maxConnections, requestTimeoutMs, mayChangeSettings } = { ...clickHouseDefaults, ...options };
    const connect = (connections: number): ClickHouseClient =>
      createClient({
        url,
        ...login,
        ...(database === undefined ? {} : { database }),
        max_open_connections: connections,
        request_timeout: requestTimeoutMs,
        compression: { request: false, response: false },
        keep_alive: { enabled: true, idle_socket_ttl: 25_000 },
        log: { level: 127 },
      });
    this.#client = connect(maxConnections);
    this.#ownsControl = options.killer === undefined;
    this.#small = new SmallReads(url, login, maxConnections, requestTimeoutMs);
    // Connections of their own: a kill must not queue behind the queries that hold all the others.
    this.#control = options.killer === undefined ? connect(2) : options.killer.#control;
    this.#settings = mayChangeSettings ? { output_format_json_quote_64bit_integers: 0, output_format_json_quote_denormals: 1, ...(cluster === undefined ? {} : CLUSTER_SETTINGS) } : {};
  }

  /** All rows of a query, by column name. 64-bit integers come as numbers: cast to String what may pass 2^53. */
  async rows<Row>(sql: string, params: SqlParams = {}, call: SqlCall = {}): Promise<Row[]> {
    return await this.#run(call, async (query) => {
      const result = await this.#client.query({ ...query, query: sql, query_params: { ...params }, format: "JSONEachRow" });
      return await result.json<Row>();
    });
  }

  /** The only row of a query. Throws when there is none. */
  async row<Row>(sql: string, params: SqlParams = {}, call: SqlCall = {}): Promise<Row> {
    const [row] = await this.rows<Row>(sql, params, call);
    if (row === undefined) throw new Error(`no row came back, wanted one: ${sql.slice(0, 200)}`);
    return row;
  }

  /**
   * A result of a few kilobytes in RowBinary, whole: for queries that read a few rows by their key, which take a third of
   * the time of `rows`. They end by themselves soon enough not to be killed.
   */
  async small(sql: string, params: SmallParams = {}, settings: ClickHouseSettings = {}): Promise<Buffer> {
    try {
      return await this.#small.read(`${sql}\nFORMAT RowBinary`, params, { ...this.#settings, ...settings } as Readonly<Record<string, string | number>>);
    } catch (error) {
      throw toSqlError(error);
    }
  }

  /** The result's bytes in a format of ClickHouse, as they arrive; ending the loop early kills the query. */
  async *bytes(sql: string, format: string, params: SqlParams = {}, call: SqlCall = {}): AsyncIterable<Uint8Array> {
    const stop = new AbortController();
    const signal = call.signal === undefined ? stop.signal : AbortSignal.any([call.signal, stop.signal]);
    const { query, done } = this.#begin({ ...call, signal });
    let finished = false;
    try {
      // On a line of its own, so that a comment at the statement's end does not swallow it.
      const { stream, response_headers } = await this.#client.exec({ ...query, query: `${sql}\nFORMAT ${format}`, query_params: { ...params } });
      yield* exceptionGuard(stream as AsyncIterable<Uint8Array>, String(response_headers["x-clickhouse-exception-tag"] ?? ""));
      finished = true;
    } catch (error) {
      throw toSqlError(error, call.signal);
    } finally {
      if (!finished) stop.abort();
      done();
    }
  }

  /** A statement without a result. */
  async command(sql: string, params: SqlParams = {}, call: SqlCall = {}): Promise<void> {
    await this.#run(call, async (query) => {
      await this.#client.command({ ...query, query: sql, query_params: { ...params }, clickhouse_settings: { ...query.clickhouse_settings, wait_end_of_query: 1 } });
    });
  }

  /** Inserts one Native block; stored whole or not at all. The columns' memory may be reused once this resolves. */
  async insertColumns(table: string, columns: readonly NativeColumn[], call: InsertCall = {}): Promise<void> {
    const names = columns.map(({ name }) => name);
    await this.insertNative(table, names, encodeNativeBlock(columns), call);
  }

  /** Inserts the bytes of one Native block made by `encodeNativeBlock` from columns of these names. */
  async insertNative(table: string, names: readonly string[], parts: readonly Uint8Array[], call: InsertCall = {}): Promise<void> {
    await this.#run(call, async (query) => {
      const { stream } = await this.#client.exec({
        ...query,
        query: `INSERT INTO ${table} (${names.join(", ")}) FORMAT Native`,
        values: Readable.from(parts, { objectMode: false }),
        clickhouse_settings: {
          ...query.clickhouse_settings,
          // One block, one part: an insert that is cut off leaves nothing behind.
          max_insert_block_size: "4000000000",
          min_insert_block_size_rows: "0",
          min_insert_block_size_bytes: "0",
          input_format_parallel_parsing: 0,
          ...(call.deduplicationToken === undefined ? {} : { insert_deduplication_token: call.deduplicationToken }),
        },
      });
      await finished(stream.resume());
    });
  }

  /** Ends the connections. */
  async close(): Promise<void> {
    this.#small.close();
    await this.#client.close();
    if (this.#ownsControl) await this.#control.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #run<T>(call: SqlCall, work: (query: QueryBase) => Promise<T>): Promise<T> {
    call.signal?.throwIfAborted();
    const { query, done } = this.#begin(call);
    try {
      return await work(query);
    } catch (error) {
      throw toSqlError(error, call.signal);
    } finally {
      done();
    }
  }

  /** A query id, and the watch on the signal that kills it. */
  #begin({ signal, settings }: SqlCall): { query: QueryBase; done: () => void } {
    const queryId = randomUUID();
    let again: NodeJS.Timeout | undefined;
    let running = true;
    const onAbort = (): void => {
      if (!running) return;
      this.#kill(queryId);
      again = setTimeout(() => this.#kill(queryId), KILL_AGAIN_AFTER_MS);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    const query: QueryBase = {
      query_id: queryId,
      clickhouse_settings: { ...this.#settings, ...settings },
      ...(signal === undefined ? {} : { abort_signal: signal }),
    };
    return {
      query,
      done: () => {
        running = false;
        signal?.removeEventListener("abort", onAbort);
        // After an abort the client returns at once, while the query may only now be registering.
        if (signal?.aborted !== true) clearTimeout(again);
      },
    };
  }

  #kill(queryId: string): void {
    this.#control
      .command({ query: `KILL QUERY${onCluster(this.cluster)} WHERE query_id = {id:String} ASYNC`, query_params: { id: queryId } })
      // The server is gone, and the query with it.
      .catch(() => undefined);
  }
}

interface QueryBase {
  readonly query_id: string;
  readonly clickhouse_settings: ClickHouseSettings;
  readonly abort_signal?: AbortSignal;
}
