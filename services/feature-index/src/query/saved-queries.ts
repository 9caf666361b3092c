import { readdirSync, readFileSync } from "node:fs";
import { type ClickHouse, restrictedSql, SqlError } from "@mistral-sae/clickhouse";
import { failedPrecondition, invalidArgument, matchName, notFound, resourceExhausted } from "@mistral-sae/rpc";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { SavedQueryRecord } from "../catalogue/records.ts";
import { queryError } from "./query-error.ts";

/** A query under a name. */
export interface SavedQuery extends SavedQueryRecord {
  /** Came with the product; it cannot be changed. */
  readonly builtIn: boolean;
}

const LONGEST_DESCRIPTION = 4_000;
const MOST_SAVED = 1_000;

/** The queries that ship, as files, and those that users saved, in the catalogue. */
export class SavedQueries {
  readonly #catalogue: Catalogue;
  readonly #clickhouse: ClickHouse;
  readonly #builtIn: ReadonlyMap<string, SavedQuery>;

  /** `folder` holds what ships: NAME.sql, begun by a comment that says what it tells. */
  constructor(catalogue: Catalogue, clickhouse: ClickHouse, folder: URL) {
    this.#catalogue = catalogue;
    this.#clickhouse = clickhouse;
    const files = readdirSync(folder).filter((file) => file.endsWith(".sql"));
    this.#builtIn = new Map(files.map((file) => [file.slice(0, -4), builtIn(file.slice(0, -4), readFileSync(new URL(file, folder), "utf8"))]));
  }

  /** By name. */
  list(): readonly SavedQuery[] {
    const saved = this.#catalogue.savedQueries().map((record) => ({ ...record, builtIn: false }));
    return [...this.#builtIn.values(), ...saved].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** By savedQueries/{query} or its id alone. @throws NOT_FOUND. */
  get(name: string): SavedQuery {
    const id = matchName("savedQueries/{query}", name)?.query ?? name;
    const found = this.list().find((query) => query.id === id);
    if (found === undefined) throw notFound(`saved query ${JSON.stringify(name)}`, `does not exist; there are ${this.list().map((query) => query.id).slice(0, 20).join(", ")}`);
    return found;
  }

  /** Saves a query in place of the one of the same id. @throws INVALID_ARGUMENT for SQL that could not run, FAILED_PRECONDITION BUILT_IN. */
  async put({ id, sql, description }: SavedQueryRecord): Promise<SavedQuery> {
    this.#refuseBuiltIn(id);
    if (description.length > LONGEST_DESCRIPTION) throw invalidArgument("saved_query.description", `got ${description.length} characters, wanted at most ${LONGEST_DESCRIPTION}`);
    const there = this.#catalogue.savedQueries();
    if (there.length >= MOST_SAVED && !there.some((record) => record.id === id)) throw resourceExhausted("TOO_MANY_SAVED_QUERIES", `${there.length} queries are saved, the most there may be; delete one first`, 0);
    try {
      const statement = restrictedSql(sql);
      // SHOW and DESCRIBE are parsed as well; nothing is run.
      await this.#clickhouse.rows("SELECT formatQuery({sql:String})", { sql: statement });
    } catch (error) {
      throw error instanceof SqlError ? queryError(error, "saved_query.sql") : error;
    }
    this.#catalogue.putSavedQuery({ id, sql, description });
    return this.get(id);
  }

  /** @throws NOT_FOUND, FAILED_PRECONDITION BUILT_IN. */
  delete(id: string): void {
    this.#refuseBuiltIn(id);
    this.get(id);
    this.#catalogue.deleteSavedQuery(id);
  }

  #refuseBuiltIn(id: string): void {
    if (this.#builtIn.has(id)) throw failedPrecondition("BUILT_IN", `savedQueries/${id} came with the product and cannot be changed; save yours under another name`, { query: `savedQueries/${id}` });
  }
}

function builtIn(id: string, text: string): SavedQuery {
  const lines = text.split("\n");
  const first = lines.findIndex((line) => !line.startsWith("--"));
  const description = lines.slice(0, first).map((line) => line.slice(2).trim()).join(" ");
  return { id, sql: lines.slice(first).join("\n").trim(), description, builtIn: true };
}
