import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type LedgerRow, type PendingShard, StopIntent, toLedgerRow } from "./ledger-row.ts";
import { ledgerSchema } from "./ledger-schema.ts";

/** A new operation. */
export interface NewOperation {
  readonly id: string;
  readonly kind: string;
  readonly requestId: string | undefined;
  readonly input: Uint8Array;
  readonly progress: string;
}

/**
 * Operations, shards and durable state in one SQLite file: every method that writes is one transaction, on the disk
 * when it returns (WAL, synchronous=FULL).
 */
export class Ledger {
  readonly #db: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  readonly #now: () => number;

  constructor(path: string, now: () => number = Date.now) {
    mkdirSync(dirname(path), { recursive: true });
    this.#now = now;
    this.#db = new DatabaseSync(path, { enableForeignKeyConstraints: true });
    this.#db.exec("pragma journal_mode = wal; pragma synchronous = full; pragma busy_timeout = 5000;");
    this.#db.exec(ledgerSchema);
  }

  get closed(): boolean {
    return !this.#db.isOpen;
  }

  close(): void {
    this.#statements.clear();
    this.#db.close();
  }

  insert(operation: NewOperation): LedgerRow {
    const now = this.#now();
    this.#run(
      `insert into operations (id, kind, state, request_id, input, progress, create_ms, update_ms)
       values (?, ?, ?, ?, ?, ?, ?, ?)`,
      operation.id,
      operation.kind,
      OperationState.QUEUED,
      operation.requestId ?? null,
      operation.input,
      operation.progress,
      now,
      now,
    );
    const row = this.byId(operation.id);
    if (row === undefined) throw new Error(`operation ${operation.id} is not in the ledger after its insert`);
    return row;
  }

  byId(id: string): LedgerRow | undefined {
    return this.#rows("select * from operations where id = ?", id)[0];
  }

  bySeq(seq: number): LedgerRow | undefined {
    return this.#rows("select * from operations where seq = ?", seq)[0];
  }

  byRequestId(requestId: string): LedgerRow | undefined {
    return this.#rows("select * from operations where request_id = ?", requestId)[0];
  }

  /** Oldest first. */
  inStates(states: readonly OperationState[]): LedgerRow[] {
    return this.#rows(`select * from operations where state in (${marks(states)}) order by seq`, ...states);
  }

  /** Newest first, below `beforeSeq`. */
  page(
    limit: number,
    beforeSeq: number | undefined,
    kinds: readonly string[],
    states: readonly OperationState[],
  ): LedgerRow[] {
    const where = ["seq < ?"];
    if (kinds.length > 0) where.push(`kind in (${marks(kinds)})`);
    if (states.length > 0) where.push(`state in (${marks(states)})`);
    const sql = `select * from operations where ${where.join(" and ")} order by seq desc limit ?`;
    return this.#rows(sql, beforeSeq ?? Number.MAX_SAFE_INTEGER, ...kinds, ...states, limit);
  }

  /** Marks an operation running, counts the attempt and forgets an earlier end. */
  begin(seq: number): void {
    this.#run(
      "update operations set state = ?, attempts = attempts + 1, error = null, update_ms = ? where seq = ?",
      OperationState.RUNNING,
      this.#now(),
      seq,
    );
  }

  /** Puts a stopped or failed operation back into the queue. */
  requeue(seq: number): void {
    this.#run(
      "update operations set state = ?, stop = 0, error = null, update_ms = ? where seq = ?",
      OperationState.QUEUED,
      this.#now(),
      seq,
    );
  }

  requestStop(seq: number, stop: StopIntent): void {
    this.#run("update operations set stop = ?, update_ms = ? where seq = ?", stop, this.#now(), seq);
  }

  saveProgress(seq: number, progress: string): void {
    this.#run("update operations set progress = ?, update_ms = ? where seq = ?", progress, this.#now(), seq);
  }

  /** Ends an operation in `state`, with an output or an error. */
  finish(
    seq: number,
    state: OperationState,
    progress: string,
    end: { readonly output?: Uint8Array; readonly error?: Uint8Array },
  ): void {
    this.#run(
      "update operations set state = ?, stop = ?, progress = ?, output = ?, error = ?, update_ms = ? where seq = ?",
      state,
      StopIntent.NONE,
      progress,
      end.output ?? null,
      end.error ?? null,
      this.#now(),
      seq,
    );
  }

  /** Stores the plan whole or not at all. */
  savePlan(seq: number, shards: readonly unknown[]): void {
    this.#transaction(() => {
      const insert = this.#prepare("insert into shards (seq, shard, input) values (?, ?, ?)");
      shards.forEach((input, shard) => insert.run(seq, shard, JSON.stringify(input ?? null)));
      this.#run("update operations set planned = 1, update_ms = ? where seq = ?", this.#now(), seq);
    });
  }

  pendingShards(seq: number): PendingShard[] {
    return this.#prepare("select shard, input from shards where seq = ? and result is null order by shard")
      .all(seq)
      .map((row) => ({ shard: Number(row["shard"]), input: JSON.parse(String(row["input"])) as unknown }));
  }

  countShards(seq: number): { readonly done: number; readonly total: number } {
    const row = this.#prepare("select count(result) as done, count(*) as total from shards where seq = ?").get(seq);
    return { done: Number(row?.["done"] ?? 0), total: Number(row?.["total"] ?? 0) };
  }

  /** Counts an attempt at a shard and returns how many there were, this one included. */
  beginShard(seq: number, shard: number): number {
    const row = this.#prepare(
      "update shards set attempts = attempts + 1 where seq = ? and shard = ? returning attempts",
    ).get(seq, shard);
    return Number(row?.["attempts"] ?? 0);
  }

  /** The first result of a shard stays. */
  completeShard(seq: number, shard: number, result: unknown): void {
    this.#run(
      "update shards set result = ? where seq = ? and shard = ? and result is null",
      JSON.stringify(result ?? null),
      seq,
      shard,
    );
  }

  /** In the order of the plan. */
  results(seq: number): unknown[] {
    return this.#prepare("select result from shards where seq = ? order by shard")
      .all(seq)
      .map((row) => JSON.parse(String(row["result"])) as unknown);
  }

  getState(seq: number, key: string): string | undefined {
    const row = this.#prepare("select value from durable_state where seq = ? and key = ?").get(seq, key);
    return row === undefined ? undefined : String(row["value"]);
  }

  /** `undefined` deletes the key. */
  setState(seq: number, key: string, value: string | undefined): void {
    if (value === undefined) this.#run("delete from durable_state where seq = ? and key = ?", seq, key);
    else this.#run("insert or replace into durable_state (seq, key, value) values (?, ?, ?)", seq, key, value);
  }

  delete(seq: number): void {
    this.#run("delete from operations where seq = ?", seq);
  }

  #rows(sql: string, ...values: SQLInputValue[]): LedgerRow[] {
    return this.#prepare(sql)
      .all(...values)
      .map(toLedgerRow);
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#prepare(sql).run(...values);
  }

  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #transaction(work: () => void): void {
    this.#db.exec("begin immediate");
    try {
      work();
      this.#db.exec("commit");
    } catch (error) {
      this.#db.exec("rollback");
      throw error;
    }
  }
}

function marks(values: readonly unknown[]): string {
  return values.map(() => "?").join(", ");
}
