import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { refuseUnsafeSql, SqlError } from "../../src/index.ts";
import { type TestServer, testServer } from "../fixtures/with-server.ts";

let test: TestServer;
beforeAll(async () => {
  test = await testServer({ analystLimits: { maxExecutionSeconds: 2, maxResultRows: 1_000, maxMemoryBytes: 100 << 20 } });
  await test.owner.command("CREATE DATABASE sae");
  await test.owner.command("CREATE DATABASE secret");
  await test.owner.command("CREATE TABLE secret.rows (a UInt32) ENGINE = MergeTree ORDER BY a AS SELECT number AS a FROM numbers(10)");
  await test.owner.command("CREATE VIEW sae.few DEFINER = owner SQL SECURITY DEFINER AS SELECT a FROM secret.rows WHERE a < 3");
});
afterAll(() => test.end());

/** As a service does it: the check of the text, then the server's own. */
async function asAnalyst(sql: string): Promise<unknown[]> {
  refuseUnsafeSql(sql);
  return await test.analyst.rows(sql);
}

describe("the restricted user", () => {
  it("reads the views, which read what it may not", async () => {
    expect(await asAnalyst("SELECT a FROM few ORDER BY a")).toEqual([{ a: 0 }, { a: 1 }, { a: 2 }]);
    expect(await asAnalyst("SHOW TABLES")).toEqual([{ name: "few" }]);
  });

  const written = () => join(test.folder, "written");
  it.each([
    ["another table", () => "SELECT * FROM secret.rows"],
    ["a row written", () => "INSERT INTO secret.rows VALUES (1)"],
    ["a table made", () => "CREATE TABLE sae.mine (a UInt8) ENGINE = Memory"],
    ["a view dropped", () => "DROP VIEW sae.few"],
    ["a temporary table", () => "CREATE TEMPORARY TABLE mine (a UInt8)"],
    ["users", () => "SELECT * FROM system.users"],
    ["processes", () => "SHOW PROCESSLIST"],
    ["processes by a quoted name", () => 'SELECT * FROM "system" . processes'],
    ["processes behind a comment", () => "SELECT * FROM system/* */.processes"],
    ["information_schema", () => "SELECT * FROM information_schema.tables"],
    ["a local file by the table function", () => "SELECT * FROM file('/etc/passwd', 'LineAsString')"],
    ["a local file by the scalar function", () => "SELECT file('/etc/passwd')"],
    ["a local file by a function passed on", () => "SELECT arrayMap(file, ['/etc/passwd'])"],
    ["a local file by an escaped name", () => "SELECT `fi\\x6ce`('/etc/passwd')"],
    ["a local file by a name in a parameter", () => "SELECT {f:Identifier}('/etc/passwd')"],
    ["a local file by SQL in a text", () => "SELECT * FROM eval(concat('SELECT fi', 'le(1)'))"],
    ["a folder", () => "SELECT * FROM filesystem('/etc')"],
    ["a URL", () => "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')"],
    ["another server", () => "SELECT * FROM remote('127.0.0.1', secret.rows)"],
    ["an object store", () => "SELECT * FROM s3('http://127.0.0.1:9/bucket/x.csv')"],
    ["a program", () => "SELECT * FROM executable('ls', 'LineAsString', 'a String')"],
    ["a file written", () => `SELECT 1 INTO OUTFILE '${written()}'`],
    ["a backup", () => `BACKUP DATABASE sae TO File('${written()}')`],
    ["a query killed", () => "KILL QUERY WHERE 1"],
    ["the server silenced", () => "SYSTEM STOP LISTEN HTTP"],
    ["a setting changed", () => "SELECT 1 SETTINGS max_execution_time = 0"],
    ["a setting changed for good", () => "SET max_threads = 8"],
    ["two statements", () => "SELECT 1; SELECT 2"],
    ["more rows than allowed", () => "SELECT number FROM numbers(1001)"],
    ["more memory than allowed", () => "SELECT groupArray(number) FROM numbers(100000000)"],
    ["more time than allowed", () => "SELECT sum(sipHash64(number)) FROM numbers_mt(200000000000)"],
  ])("is refused %s", async (_, sql) => {
    await expect(asAnalyst(sql())).rejects.toThrow(SqlError);
    expect(existsSync(written())).toBe(false);
  });

  it("left everything as it was", async () => {
    expect(await test.owner.row("SELECT count() AS n FROM secret.rows")).toEqual({ n: 10 });
    expect(await asAnalyst("SELECT count() AS n FROM few")).toEqual([{ n: 3 }]);
  });

  it("may write of a profile, and pass any text as a parameter", async () => {
    expect(() => refuseUnsafeSql("SELECT profile, filename, my_file FROM few WHERE text = 'eval_me'")).not.toThrow();
    refuseUnsafeSql("SELECT {text:String} AS text");
    expect(await test.analyst.rows("SELECT {text:String} AS text", { text: "system.file" })).toEqual([{ text: "system.file" }]);
  });
});
