import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { restrictedSql, restrictedSqlLimits, SqlError } from "../../src/index.ts";
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
  return await test.analyst.rows(restrictedSql(sql));
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
    ["a local file by a name in typographic quotes", () => "SELECT \u201cfi\\x6ce\u201d('/etc/passwd')"],
    ["a local file by a function applied", () => "SELECT * APPLY(file) FROM (SELECT '/etc/passwd')"],
    ["a local file behind a comment that a comment hides", () => "SELECT /* /* */ 1 */ file/**/('/etc/passwd')"],
    ["settings of a subquery", () => "SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 0)"],
    ["a table function that a subquery's settings allow", () => "SELECT * FROM (SELECT * FROM eVal('SELECT 1') SETTINGS allow_experimental_eval_table_function = 1)"],
    ["what a here-document hides", () => "SELECT $a$ $a$, 1"],
    ["a setting by its name", () => "SELECT getSetting('readonly')"],
    ["the server's name", () => "SELECT hostName()"],
    ["the server's name by a function applied", () => "SELECT * APPLY hostName FROM few"],
    ["a server variable", () => "SELECT @@version"],
    ["a state made by hand", () => "SELECT CAST(unhex('00') AS AggregateFunction(sum, UInt8))"],
    ["a state made by a type in a text", () => "SELECT CAST(unhex('00'), 'AggregateFunction(sum, UInt8)')"],
    ["settings listed", () => "SHOW SETTINGS LIKE 'max%'"],
    ["another format", () => "SELECT 1 FORMAT Native"],
    ["a write explained", () => "EXPLAIN INSERT INTO secret.rows SELECT 1"],
    ["brackets that leave their query", () => "SELECT 1) UNION ALL (SELECT 2"],
    ["brackets too deep", () => `SELECT ${"(".repeat(100)}1${")".repeat(100)}`],
    ["a null byte", () => "SELECT 1\0"],
    ["a quote that does not end", () => "SELECT 'abc"],
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
    expect(restrictedSql("SELECT profile, file_name, my_file FROM few WHERE text = 'eval file() system.one';")).toBe("SELECT profile, file_name, my_file FROM few WHERE text = 'eval file() system.one'");
    expect(await test.analyst.rows(restrictedSql("SELECT {text:String} AS text"), { text: "system.file" })).toEqual([{ text: "system.file" }]);
  });

  it.each([
    "SELECT count(*) FILTER (WHERE a > 1) AS n, quantileTDigestIf(0.5)(a, a > 0) AS q, uniqExactOrNull(a) AS u, sumArray([a]) AS s FROM few",
    "SELECT CASE WHEN (a = 1) THEN (2) ELSE (3) END AS c, a IN (1, 2) AS i, [a, 1][1] AS e, (a, 'x').1 AS t, a = 1 ? 1 : 0 AS b FROM few",
    "WITH few2 AS (SELECT a FROM few) SELECT a, row_number() OVER (PARTITION BY a % 2 ORDER BY a) AS r FROM few2 ORDER BY a LIMIT 1 BY r",
    "SELECT CAST(a AS Decimal(10, 2)) AS d, '[1]'::Array(UInt8) AS l, toDate('2020-01-01') + INTERVAL 1 DAY AS day, arrayMap((x, y) -> x + y, [a], [1]) AS m FROM few",
    "SELECT * EXCEPT (a) REPLACE (1 AS b) APPLY(x -> x + 1) FROM (SELECT a, a AS b FROM few)",
    "EXPLAIN indexes = 1, actions = 0 SELECT a FROM few",
    "DESCRIBE few",
    "SELECT 1.5e-3, 0x1F, .5, 1_000, 'it''s \\' -- no comment', 1 AS \"a \"\"b\" /* one /* two */ */ -- end",
  ])("may send %s", async (sql) => {
    expect((await test.analyst.rows(restrictedSql(sql))).length).toBeGreaterThan(0);
  });

  it.each([
    "SELECT 'a' LIKE (SELECT '%a')",
    "SELECT NOT like('a', toString(a)) FROM few",
    "SELECT 'a' NOT REGEXP hex('a')",
    "SELECT 'a' LIKE concat('%', 'a')",
    "SELECT 'a' NOT ILIKE '%' || toString(a) FROM few",
    `SELECT match('a', '${"a?".repeat(200)}')`,
    "SELECT match('a', '((a?){500}){500}')",
    "SELECT match('a', toString(a)) FROM few",
    "SELECT arrayMap(match, ['a'], ['b'])",
    "SELECT \"like\"('a', toString(a)) FROM few",
    "SELECT splitByRegexp(toString(a), 'text') FROM few",
    "SELECT extract('a', toString(a)) FROM few",
    "SELECT 'a' LIKE (SELECT groupConcat(toString(a)) FROM few)",
  ])("is refused a pattern without a bound: %s", (sql) => {
    expect(() => restrictedSql(sql)).toThrow(/pattern/);
  });

  it("may match against what it writes or passes", async () => {
    const sql = "SELECT count() AS n FROM few WHERE toString(a) LIKE '%0%' OR match(toString(a), '^[1-3]{1,2}$') AND NOT like('a', '_') AND NOT (toString(a) NOT ILIKE {like:String}) AND extract(year FROM today()) > 1 AND extract('a1', '\\\\d') = '1' ? 1 : 0";
    expect(restrictedSql(sql, { like: "%1%" })).toBe(sql);
    await test.analyst.rows(restrictedSql(sql, { like: "%1%" }), { like: "%1%" });
    expect(() => restrictedSql(sql, { like: "%".repeat(257) })).toThrow("the pattern of ilike has 257 characters");
  });

  it("may ask for less time than it has, as clients in Go do, and for no more", async () => {
    const ask = async (seconds: number) => await test.analyst.rows("SELECT 1 AS one", {}, { settings: { max_execution_time: seconds } });
    expect(await ask(1)).toEqual([{ one: 1 }]);
    for (const seconds of [0, 3]) await expect(ask(seconds)).rejects.toThrow(/max_execution_time/);
  });

  it("says which limit a statement passes", () => {
    expect(() => restrictedSql(`SELECT '${"x".repeat(restrictedSqlLimits.characters)}'`)).toThrow(/has 26\d+ characters, wanted at most 262144/);
    expect(() => restrictedSql(`SELECT ${"[".repeat(65)}${"]".repeat(65)}`)).toThrow("brackets are nested deeper than 64");
    expect(() => restrictedSql(" -- nothing")).toThrow("there is no statement");
  });
});
