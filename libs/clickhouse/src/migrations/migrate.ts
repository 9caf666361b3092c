import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClickHouse } from "../client/clickhouse.ts";
import { splitStatements } from "./split-statements.ts";

/** How migrations are applied. */
export interface MigrateOptions {
  /** Folder of the files NNNN_name.sql. */
  readonly folder: string;
  /** Database that keeps the record of what was applied; made when missing. */
  readonly database: string;
  /** Values of `{{name}}` in the files: database names, and what differs between one server and a cluster. */
  readonly variables?: Readonly<Record<string, string>>;
}

interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
}

interface Applied {
  readonly version: number;
  readonly name: string;
  readonly sha256: string;
}

/**
 * Brings the schema up to the files: applies what is missing in the order of the numbers. Statements must bear being
 * run again (IF NOT EXISTS, OR REPLACE): a file that was cut off halfway is applied again from its start.
 * Throws an error when an applied file has changed since, is gone, or a number is used twice. Returns the names applied.
 */
export async function migrate(clickhouse: ClickHouse, options: MigrateOptions): Promise<string[]> {
  const { database, variables = {} } = options;
  const migrations = await readMigrations(options.folder);
  const record = `${database}.schema_migrations`;
  await clickhouse.command(`CREATE DATABASE IF NOT EXISTS ${database}`);
  await clickhouse.command(
    `CREATE TABLE IF NOT EXISTS ${record} (version UInt32, name String, sha256 String, applied_at DateTime DEFAULT now()) ENGINE = ReplacingMergeTree ORDER BY version`,
  );
  const applied = await clickhouse.rows<Applied>(`SELECT version, name, sha256 FROM ${record} FINAL ORDER BY version`);
  for (const done of applied) verify(done, migrations);
  const missing = migrations.filter(({ version }) => !applied.some((done) => done.version === version));
  for (const migration of missing) {
    for (const statement of splitStatements(substitute(migration, variables))) await apply(clickhouse, migration, statement);
    await clickhouse.command(`INSERT INTO ${record} (version, name, sha256) SELECT {version:UInt32}, {name:String}, {sha256:String}`, {
      version: migration.version,
      name: migration.name,
      sha256: migration.sha256,
    });
  }
  return missing.map(({ name }) => name);
}

async function apply(clickhouse: ClickHouse, { name }: Migration, statement: string): Promise<void> {
  try {
    await clickhouse.command(statement);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Error(`migration ${name} failed: ${said}\n${statement}`, { cause: error });
  }
}

async function readMigrations(folder: string): Promise<Migration[]> {
  const names = (await readdir(folder)).filter((file) => file.endsWith(".sql")).sort();
  const migrations: Migration[] = [];
  for (const file of names) {
    const version = Number(/^(\d{4})_[a-z0-9_]+\.sql$/.exec(file)?.[1] ?? Number.NaN);
    if (Number.isNaN(version)) throw new Error(`migration ${join(folder, file)}: wanted a name like 0001_what_it_does.sql`);
    const twin = migrations.find((other) => other.version === version);
    if (twin !== undefined) throw new Error(`migrations ${twin.name} and ${file} have the same number`);
    const sql = await readFile(join(folder, file), "utf8");
    migrations.push({ version, name: file, sql, sha256: createHash("sha256").update(sql).digest("hex") });
  }
  return migrations;
}

function verify(applied: Applied, migrations: readonly Migration[]): void {
  const file = migrations.find(({ version }) => version === applied.version);
  if (file === undefined) {
    throw new Error(`the database has migration ${applied.name}, which this program does not know: it was made by a newer version`);
  }
  if (file.sha256 !== applied.sha256) {
    throw new Error(`migration ${file.name} was changed after it was applied: got sha256 ${file.sha256}, wanted ${applied.sha256}; add a new file instead`);
  }
}

function substitute({ name, sql }: Migration, variables: Readonly<Record<string, string>>): string {
  return sql.replaceAll(/\{\{(\w+)\}\}/g, (_, variable: string) => {
    const value = variables[variable];
    if (value === undefined) throw new Error(`migration ${name} names {{${variable}}}, wanted one of ${Object.keys(variables).join(", ") || "none"}`);
    return value;
  });
}
