import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Sae, SaeSchema } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";

/** A model that was loaded by a call and is to be there again after a restart. */
export interface ModelRecord {
  readonly id: string;
  readonly uri: string;
  /** Number of the contract; 0 leaves it to the folder. */
  readonly precision: number;
}

/** A registered SAE. */
export interface SaeRecord {
  readonly sae: Sae;
  /** Whether it is to be loaded when its model is. */
  readonly wanted: boolean;
  /** The operation that registered it. */
  readonly operation: string;
}

const SCHEMA = `
  create table if not exists models (id text primary key, uri text not null, precision integer not null default 0) strict;
  create table if not exists saes (
    name text primary key, sae blob not null, wanted integer not null, operation text not null
  ) strict;
`;

/** What the service knows across restarts: one SQLite file in its data folder. */
export class Catalogue {
  readonly #db: DatabaseSync;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    this.#db = new DatabaseSync(join(folder, "catalogue.sqlite"), { timeout: 5000 });
    this.#db.exec(`pragma journal_mode = wal; pragma synchronous = full; ${SCHEMA}`);
    const columns = this.#db.prepare("pragma table_info(models)").all();
    if (!columns.some(({ name }) => name === "precision")) this.#db.exec("alter table models add column precision integer not null default 0");
  }

  models(): ModelRecord[] {
    return this.#db
      .prepare("select id, uri, precision from models order by id")
      .all()
      .map((row) => ({ id: String(row["id"]), uri: String(row["uri"]), precision: Number(row["precision"]) }));
  }

  putModel({ id, uri, precision }: ModelRecord): void {
    this.#db.prepare("insert or replace into models (id, uri, precision) values (?, ?, ?)").run(id, uri, precision);
  }

  deleteModel(id: string): void {
    this.#db.prepare("delete from models where id = ?").run(id);
  }

  saes(): SaeRecord[] {
    return this.#db
      .prepare("select sae, wanted, operation from saes order by name")
      .all()
      .map((row) => ({
        sae: fromBinary(SaeSchema, row["sae"] as Uint8Array),
        wanted: row["wanted"] === 1,
        operation: String(row["operation"]),
      }));
  }

  putSae({ sae, wanted, operation }: SaeRecord): void {
    this.#db
      .prepare("insert or replace into saes (name, sae, wanted, operation) values (?, ?, ?, ?)")
      .run(sae.name, toBinary(SaeSchema, sae), wanted ? 1 : 0, operation);
  }

  deleteSae(name: string): void {
    this.#db.prepare("delete from saes where name = ?").run(name);
  }

  close(): void {
    this.#db.close();
  }
}
