import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { CreateSweepRequestSchema, type CreateSweepRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";

/** What never changes of a sweep. Its runs are those of the catalogue that bear its id. */
export interface SweepFacts {
  readonly id: string;
  /** Hash over the identities of its runs and the values of its axes. */
  readonly identity: string;
  readonly asked: CreateSweepRequest;
  /** Value of each axis, of each run. */
  readonly values: readonly Readonly<Record<string, string>>[];
}

export interface SweepRow extends SweepFacts {
  readonly seq: number;
  readonly requestId: string | undefined;
  /** Ended for good by StopSweep. */
  readonly stopped: boolean;
  readonly createMs: number;
  readonly updateMs: number;
}

const SCHEMA = `
create table if not exists sweeps (
  seq integer primary key autoincrement,
  id text not null unique,
  identity text not null,
  request_id text unique,
  asked blob not null,
  vals text not null,
  stopped integer not null default 0,
  create_ms integer not null,
  update_ms integer not null
) strict;
`;

/** The sweeps of the catalogue. */
export class SweepStore {
  readonly #db: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#db = database;
    this.#db.exec(SCHEMA);
  }

  insert({ id, identity, asked, values }: SweepFacts): void {
    const now = Date.now();
    const requestId = asked.requestId === "" ? null : asked.requestId;
    const insert = this.#db.prepare("insert into sweeps (id, identity, request_id, asked, vals, create_ms, update_ms) values (?, ?, ?, ?, ?, ?, ?)");
    insert.run(id, identity, requestId, toBinary(CreateSweepRequestSchema, asked), JSON.stringify(values), now, now);
  }

  byId(id: string): SweepRow | undefined {
    return rowOf(this.#db.prepare("select * from sweeps where id = ?").get(id));
  }

  byRequestId(requestId: string): SweepRow | undefined {
    return rowOf(this.#db.prepare("select * from sweeps where request_id = ?").get(requestId));
  }

  /** Newest first, below `beforeSeq`. */
  page(limit: number, beforeSeq = Number.MAX_SAFE_INTEGER): SweepRow[] {
    return this.#db
      .prepare("select * from sweeps where seq < ? order by seq desc limit ?")
      .all(beforeSeq, limit)
      .flatMap((columns) => rowOf(columns) ?? []);
  }

  stop(id: string): void {
    this.#db.prepare("update sweeps set stopped = 1, update_ms = ? where id = ?").run(Date.now(), id);
  }
}

function rowOf(columns: Record<string, SQLOutputValue> | undefined): SweepRow | undefined {
  if (columns === undefined) return undefined;
  const { request_id: requestId } = columns;
  return {
    seq: Number(columns["seq"]),
    id: String(columns["id"]),
    identity: String(columns["identity"]),
    requestId: typeof requestId === "string" ? requestId : undefined,
    asked: fromBinary(CreateSweepRequestSchema, columns["asked"] as Uint8Array),
    values: JSON.parse(String(columns["vals"])) as Record<string, string>[],
    stopped: Number(columns["stopped"]) === 1,
    createMs: Number(columns["create_ms"]),
    updateMs: Number(columns["update_ms"]),
  };
}
