import { canonical, inParentheses, plainSql, splitList, typeIn } from "./schema-text.ts";

/** A table as the migrations leave it. */
export interface ExpectedTable {
  /** Name of the migration that made it. */
  readonly migration: string;
  /** MergeTree, ReplacingMergeTree, …; what stands before it in a cluster is left out. */
  readonly engine: string;
  /** Without spaces and outer parentheses; undefined where the statement has none. */
  readonly sortingKey: string | undefined;
  readonly partitionKey: string | undefined;
  /** By name: the type, and the migration that made it so. */
  readonly columns: Map<string, { readonly type: string; readonly migration: string }>;
}

const NAME = String.raw`([\w.]+)`;
const CREATE_TABLE = new RegExp(`^CREATE TABLE (?:IF NOT EXISTS )?${NAME}`, "i");
const CREATE_VIEW = new RegExp(`^CREATE (?:OR REPLACE )?(?:MATERIALIZED )?VIEW (?:IF NOT EXISTS )?${NAME}`, "i");
const DROP = new RegExp(`^DROP (?:TABLE|VIEW) (?:IF EXISTS )?${NAME}`, "i");
const ALTER = new RegExp(`^ALTER TABLE ${NAME}(?: ON CLUSTER \\S+)? (.*)$`, "is");
const NOT_A_COLUMN = /^(?:INDEX|PROJECTION|CONSTRAINT|PRIMARY KEY)\b/i;
const ADD_COLUMN = /^ADD COLUMN (?:IF NOT EXISTS )?(\w+) (.*)$/is;
const MODIFY_COLUMN = /^MODIFY COLUMN (?:IF EXISTS )?(\w+) (.*)$/is;
const DROP_COLUMN = /^DROP COLUMN (?:IF EXISTS )?(\w+)/i;
const RENAME_COLUMN = /^RENAME COLUMN (?:IF EXISTS )?(\w+) TO (\w+)/i;

/** Follows the statements of migrations: which tables and views there must be afterwards. */
export class ExpectedSchema {
  /** By `database.name`. */
  readonly tables: Map<string, ExpectedTable> = new Map();
  /** By `database.name`: the migration that made it. */
  readonly views: Map<string, string> = new Map();

  /** Takes in one statement, its variables substituted. */
  add(migration: string, statement: string): void {
    const sql = plainSql(statement);
    const made = CREATE_TABLE.exec(sql)?.[1];
    const seen = CREATE_VIEW.exec(sql)?.[1];
    const dropped = DROP.exec(sql)?.[1];
    const [, altered, actions] = ALTER.exec(sql) ?? [];
    if (made !== undefined) {
      if (!this.tables.has(made)) this.tables.set(made, readTable(migration, sql));
    } else if (seen !== undefined) this.views.set(seen, migration);
    else if (dropped !== undefined) {
      this.tables.delete(dropped);
      this.views.delete(dropped);
    } else if (altered !== undefined && actions !== undefined) this.#alter(migration, altered, actions);
  }

  #alter(migration: string, name: string, actions: string): void {
    const columns = this.tables.get(name)?.columns;
    if (columns === undefined) return;
    for (const action of splitList(actions)) {
      const [, added, declaration] = ADD_COLUMN.exec(action) ?? MODIFY_COLUMN.exec(action) ?? [];
      const dropped = DROP_COLUMN.exec(action)?.[1];
      const [, from, to] = RENAME_COLUMN.exec(action) ?? [];
      if (added !== undefined && declaration !== undefined) {
        const type = canonical(typeIn(declaration));
        if (type !== "") columns.set(added, { type, migration });
      } else if (dropped !== undefined) columns.delete(dropped);
      else if (from !== undefined && to !== undefined) {
        const column = columns.get(from);
        columns.delete(from);
        if (column !== undefined) columns.set(to, { type: column.type, migration });
      }
    }
  }
}

function readTable(migration: string, sql: string): ExpectedTable {
  const { inside, end } = inParentheses(sql);
  const rest = sql.slice(end);
  const columns = new Map<string, { type: string; migration: string }>();
  for (const part of splitList(inside)) {
    if (NOT_A_COLUMN.test(part)) continue;
    const space = part.indexOf(" ");
    columns.set(part.slice(0, space), { type: canonical(typeIn(part.slice(space + 1))), migration });
  }
  return {
    migration,
    engine: /ENGINE ?= ?(?:Replicated)?(\w+)/i.exec(rest)?.[1] ?? "",
    sortingKey: keyIn(rest, /ORDER BY (.+?)(?: SETTINGS .*| COMMENT .*| TTL .*| PRIMARY KEY .*)?$/is),
    partitionKey: keyIn(rest, /PARTITION BY (.+?)(?: ORDER BY .*| PRIMARY KEY .*)$/is),
    columns,
  };
}

function keyIn(sql: string, pattern: RegExp): string | undefined {
  const key = pattern.exec(sql)?.[1];
  if (key === undefined) return undefined;
  const tight = canonical(key);
  return tight.startsWith("(") && inParentheses(tight).end === tight.length ? tight.slice(1, -1) : tight;
}
