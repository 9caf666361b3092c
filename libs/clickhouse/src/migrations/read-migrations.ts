import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** A file of statements. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
}

/** The files NNNN_name.sql of a folder by number. @throws Error for a name without a number, and a number used twice. */
export async function readMigrations(folder: string): Promise<Migration[]> {
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
