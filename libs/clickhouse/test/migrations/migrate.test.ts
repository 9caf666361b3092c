import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { migrate } from "../../src/index.ts";
import { type TestServer, testServer } from "../fixtures/with-server.ts";

let test: TestServer;
let folder: string;
let database: string;
let count = 0;
beforeAll(async () => void (test = await testServer()));
afterAll(() => test.end());
beforeEach(() => {
  database = `m${++count}`;
  folder = join(test.folder, database);
  mkdirSync(folder);
  write("0001_first.sql", "CREATE TABLE IF NOT EXISTS {{db}}.a (x UInt8) ENGINE = MergeTree ORDER BY x; -- one\nINSERT INTO {{db}}.a VALUES (1);");
});

function write(name: string, sql: string): void {
  writeFileSync(join(folder, name), sql);
}

const run = () => migrate(test.owner, { folder, database, variables: { db: database } });

describe("migrate", () => {
  it("applies every statement of every file once, in the order of the numbers", async () => {
    write("0002_second.sql", "ALTER TABLE {{db}}.a ADD COLUMN IF NOT EXISTS y UInt8 DEFAULT x + 1;");
    expect(await run()).toEqual(["0001_first.sql", "0002_second.sql"]);
    expect(await run()).toEqual([]);
    write("0003_third.sql", "INSERT INTO {{db}}.a (x) VALUES (5)");
    expect(await run()).toEqual(["0003_third.sql"]);
    expect(await test.owner.rows(`SELECT x, y FROM ${database}.a ORDER BY x`)).toEqual([{ x: 1, y: 2 }, { x: 5, y: 6 }]);
  });

  it("refuses a file that changed after it was applied", async () => {
    await run();
    write("0001_first.sql", "CREATE TABLE IF NOT EXISTS {{db}}.b (x UInt8) ENGINE = Memory;");
    await expect(run()).rejects.toThrow(/0001_first\.sql was changed after it was applied: got sha256 [0-9a-f]{64}, wanted [0-9a-f]{64}/);
  });

  it("refuses a database made by a newer version", async () => {
    write("0002_newer.sql", "SELECT 1");
    await run();
    write("0002_newer.sql", "");
    const older = join(test.folder, `${database}-older`);
    mkdirSync(older);
    writeFileSync(join(older, "0001_first.sql"), "CREATE TABLE IF NOT EXISTS {{db}}.a (x UInt8) ENGINE = MergeTree ORDER BY x; -- one\nINSERT INTO {{db}}.a VALUES (1);");
    await expect(migrate(test.owner, { folder: older, database, variables: { db: database } })).rejects.toThrow("0002_newer.sql, which this program does not know");
  });

  it("names the file and the statement that failed, and applies the file again next time", async () => {
    write("0002_broken.sql", "CREATE TABLE IF NOT EXISTS {{db}}.c (x UInt8) ENGINE = Memory; SELECT no_such;");
    await expect(run()).rejects.toThrow(/migration 0002_broken\.sql failed: .*no_such[\s\S]*SELECT no_such/);
    write("0002_broken.sql", "CREATE TABLE IF NOT EXISTS {{db}}.c (x UInt8) ENGINE = Memory; SELECT 1;");
    expect(await run()).toEqual(["0002_broken.sql"]);
  });

  it("refuses a table that was altered or dropped by hand, and names the column", async () => {
    write("0002_more.sql", "ALTER TABLE {{db}}.a ADD COLUMN IF NOT EXISTS y Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER x, ADD COLUMN IF NOT EXISTS z UInt8;\nALTER TABLE {{db}}.a DROP COLUMN IF EXISTS z;\nCREATE OR REPLACE VIEW {{db}}.v AS SELECT x FROM {{db}}.a");
    await run();
    await run();
    const changes = [
      ["ALTER TABLE a MODIFY COLUMN y Array(String)", "column y of table DB.a: got type Array(String), wanted Array(LowCardinality(String)) as in 0002_more.sql", "ALTER TABLE a MODIFY COLUMN y Array(LowCardinality(String))"],
      ["ALTER TABLE a DROP COLUMN y", "table DB.a has no column y, which 0002_more.sql made", "ALTER TABLE a ADD COLUMN y Array(LowCardinality(String))"],
      ["ALTER TABLE a ADD COLUMN w UInt8", "table DB.a has a column w, which no migration made", "ALTER TABLE a DROP COLUMN w"],
      ["RENAME TABLE v TO other", "view DB.v is not there, which 0002_more.sql made", "RENAME TABLE other TO v"],
      ["RENAME TABLE a TO b", "table DB.a is not there, which 0001_first.sql made", "CREATE TABLE a (x UInt8, y Array(LowCardinality(String))) ENGINE = MergeTree ORDER BY (x, y)"],
      ["SELECT 1", "table DB.a: got sorting key x, y, wanted x as in 0001_first.sql", "SELECT 1"],
    ] as const;
    for (const [change, said, undo] of changes) {
      const here = (sql: string) => test.owner.command(sql.replace(/TABLE (\w+)( TO )?/, (_, table: string, to?: string) => `TABLE ${database}.${table}${to === undefined ? "" : ` TO ${database}.`}`));
      await here(change);
      await expect(run(), change).rejects.toThrow(`the database is not as the migrations left it: ${said.replace("DB", database)}; put it back`);
      await here(undo);
    }
  });

  it("may be run by several programs at once", async () => {
    write("0002_view.sql", "CREATE OR REPLACE VIEW {{db}}.v AS SELECT x FROM {{db}}.a; ALTER TABLE {{db}}.a ADD COLUMN IF NOT EXISTS y UInt8");
    write("0001_first.sql", "CREATE TABLE IF NOT EXISTS {{db}}.a (x UInt8) ENGINE = MergeTree ORDER BY x");
    await Promise.all(Array.from({ length: 8 }, run));
    expect(await test.owner.rows(`SELECT version FROM ${database}.schema_migrations FINAL ORDER BY version`)).toEqual([{ version: 1 }, { version: 2 }]);
    expect(await run()).toEqual([]);
  });

  it("refuses names without a number, numbers used twice, and variables without a value", async () => {
    write("0001_twin.sql", "SELECT 1");
    await expect(run()).rejects.toThrow("0001_first.sql and 0001_twin.sql have the same number");
    const other = join(test.folder, `${database}-other`);
    mkdirSync(other);
    writeFileSync(join(other, "first.sql"), "SELECT 1");
    await expect(migrate(test.owner, { folder: other, database })).rejects.toThrow("wanted a name like 0001_what_it_does.sql");
    const third = join(test.folder, `${database}-third`);
    mkdirSync(third);
    writeFileSync(join(third, "0001_first.sql"), "SELECT '{{other}}'");
    await expect(migrate(test.owner, { folder: third, database, variables: { db: "x" } })).rejects.toThrow("names {{other}}, wanted one of db, on_cluster, replicated, tables");
  });
});
