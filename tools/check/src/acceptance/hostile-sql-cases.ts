import { Random } from "../soak/random.ts";
import { BOMBS, expressions, sources, statements, type Targets } from "./hostile-sql-parts.ts";

/** A query that somebody with bad intentions might send. */
export interface HostileCase {
  readonly sql: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** `n` hostile queries that follow from a seed; one in `bombEvery` is only meant to be costly. */
export function* hostileCases(targets: Targets, n: number, seed: number, bombEvery = 64): Iterable<HostileCase> {
  const random = new Random(seed);
  const parts = { statements: statements(targets), expressions: expressions(targets), sources: sources(targets) };
  for (let i = 0; i < n; i++) {
    const base = i % bombEvery === 0 ? bomb(random) : i % 4 === 1 ? random.pick(parts.statements) : i % 4 === 2 ? fromExpression(random, parts) : fromSource(random, parts);
    let sql = base;
    for (let times = random.skewed(0, 3); times > 0; times--) sql = random.pick(DISGUISES)(sql, random, parts);
    yield { sql, parameters: parametersFor(sql, random, targets, parts) };
  }
}

interface Parts {
  readonly statements: readonly string[];
  readonly expressions: readonly string[];
  readonly sources: readonly string[];
}

function fromExpression(random: Random, { expressions, sources }: Parts): string {
  let expression = random.pick(expressions);
  for (let depth = random.skewed(0, 4); depth > 0; depth--) {
    expression = random.pick([
      (x: string) => `upper(toString(${x}))`, (x: string) => `if(1, ${x}, ${x})`, (x: string) => `(SELECT ${x})`, (x: string) => `[${x}][1]`, (x: string) => `(${x}, 1).1`, (x: string) => `arrayMap(a -> ${x}, [1])`, (x: string) => `CASE WHEN 1 THEN ${x} ELSE NULL END`, (x: string) => `any(${x})`,
      (x: string) => `CAST(${x} AS String)`, (x: string) => `${x}::String`, (x: string) => `coalesce(NULL, ${x})`, (x: string) => `map('a', ${x})['a']`, (x: string) => `concat(${x}, ${random.pick(expressions)})`, (x: string) => `(${x}) IN (SELECT 1)`, (x: string) => `EXISTS(SELECT * FROM ${random.pick(sources)} WHERE ${x} = 1)`, (x: string) => `count() OVER (PARTITION BY ${x})`,
    ])(expression); // prettier-ignore
  }
  return random.pick([
    (x: string) => `SELECT ${x}`, (x: string) => `SELECT ${x} FROM features LIMIT 5`, (x: string) => `SELECT 1 FROM features WHERE ${x} = 'a'`, (x: string) => `SELECT count() FROM features GROUP BY ${x}`, (x: string) => `SELECT 1 ORDER BY ${x}`, (x: string) => `WITH ${x} AS y SELECT y`, (x: string) => `WITH y AS (SELECT ${x} AS z) SELECT z FROM y`,
    (x: string) => `SELECT * FROM (SELECT ${x})`, (x: string) => `SELECT 1 UNION ALL SELECT ${x}`, (x: string) => `SELECT * FROM view(SELECT ${x})`, (x: string) => `SELECT * FROM values('a String', ${x})`, (x: string) => `SELECT 1 LIMIT ${x}`, (x: string) => `SELECT * REPLACE (${x} AS description) FROM features LIMIT 1`, (x: string) => `SELECT 1 HAVING ${x} != ''`,
    (x: string) => `SELECT * APPLY(a -> ${x}) FROM features LIMIT 1`, (x: string) => `SELECT * APPLY ${x.split("(")[0] ?? ""} FROM features LIMIT 1`, (x: string) => `SELECT arrayMap(${x.split("(")[0] ?? ""}, ['a'])`, (x: string) => `SELECT a.x FROM (SELECT 1 AS k) AS b LEFT JOIN (SELECT 1 AS k, ${x} AS x) AS a USING (k)`, (x: string) => `SELECT 1 QUALIFY ${x} = ''`,
    (x: string) => `SELECT ${x} FORMAT RawBLOB`, (x: string) => `SELECT * FROM features WHERE description LIKE ${x}`, (x: string) => `EXPLAIN actions = 1 SELECT ${x}`, (x: string) => `FROM (SELECT ${x} AS q) SELECT q`, (x: string) => `SELECT ${x} AS a, a, a AS b FROM numbers(2)`,
  ])(expression); // prettier-ignore
}

function fromSource(random: Random, { sources, expressions }: Parts): string {
  const source = random.pick(sources);
  return random.pick([
    (x: string) => `SELECT * FROM ${x}`, (x: string) => `SELECT * FROM ${x} LIMIT 3`, (x: string) => `SELECT count() FROM ${x}`, (x: string) => `SELECT * FROM (SELECT * FROM ${x})`, (x: string) => `WITH t AS (SELECT * FROM ${x}) SELECT * FROM t`, (x: string) => `SELECT * FROM features UNION DISTINCT SELECT * FROM ${x}`, (x: string) => `SELECT (SELECT count() FROM ${x})`,
    (x: string) => `SELECT * FROM features AS f, ${x} AS s LIMIT 1`, (x: string) => `SELECT * FROM features AS f LEFT JOIN ${x} AS s ON 1 = 1 LIMIT 1`, (x: string) => `SELECT * FROM features WHERE feature_index IN (SELECT 1 FROM ${x})`, (x: string) => `SELECT 1 IN ${x}`, (x: string) => `SELECT * FROM view(SELECT * FROM ${x})`, (x: string) => `SELECT EXISTS(SELECT 1 FROM ${x})`,
    (x: string) => `DESCRIBE TABLE ${x}`, (x: string) => `DESC (SELECT * FROM ${x})`, (x: string) => `EXPLAIN indexes = 1 SELECT * FROM ${x}`, (x: string) => `FROM ${x} SELECT *`, (x: string) => `SELECT * FROM ${x} FINAL`, (x: string) => `SELECT * FROM ${x} SAMPLE 0.1`, (x: string) => `SELECT * FROM ${x} STREAM`, (x: string) => `SELECT * FROM ${x} WHERE ${random.pick(expressions)} = ''`,
    (x: string) => `SELECT * FROM ${x} SETTINGS allow_introspection_functions = 1`, (x: string) => `SELECT * FROM (SELECT * FROM ${x} SETTINGS readonly = 0, allow_experimental_eval_table_function = 1)`, (x: string) => `SELECT x.* FROM ${x} AS x ARRAY JOIN [1, 2] AS y`, (x: string) => `WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n FROM t, ${x}) SELECT * FROM t`,
  ])(source); // prettier-ignore
}

function bomb(random: Random): string {
  const deep = (open: string, close: string) => `SELECT ${open.repeat(random.between(30, 3_000))}1${close.repeat(random.between(30, 3_000))}`;
  const even = (open: string, close: string, n = random.between(30, 3_000)) => `SELECT ${open.repeat(n)}1${close.repeat(n)}`;
  return random.chance(0.75)
    ? random.pick(BOMBS)
    : random.pick([
        () => deep("(", ")"), () => even("(", ")"), () => even("[", "]"), () => even("NOT ", ""), () => even("- ", ""), () => even("1 + ", ""), () => even("tuple(", ")"), () => even("(SELECT ", ")"), () => even("if(1, ", ", 2)", 60), () => even("CASE WHEN 1 THEN ", " END"), () => even("arrayMap(x -> ", ", [1])", 60), () => even("identity(", ")", 63),
        () => `SELECT 1 IN (${"1, ".repeat(30_000)}1)`, () => `SELECT ${"1, ".repeat(50_000)}1`, () => `SELECT '${"a".repeat(250_000)}'`, () => `SELECT '${"a".repeat(600_000)}'`, () => `SELECT 1 ${"UNION ALL SELECT 1 ".repeat(5_000)}`, () => `SELECT * FROM ${"(SELECT * FROM ".repeat(60)}numbers(3)${")".repeat(60)}`, () => `SELECT 1 WHERE ${"1 = 1 AND ".repeat(10_000)}1`,
        () => `WITH ${Array.from({ length: 60 }, (_, i) => `t${i} AS (SELECT * FROM ${i === 0 ? "numbers(2)" : `t${i - 1} AS a, t${i - 1} AS b`})`).join(", ")} SELECT count() FROM t59`, () => `SELECT ${"/*".repeat(10_000)}`, () => `SELECT match('a', '${"(a?)".repeat(1_000)}${"a".repeat(1_000)}')`, () => `SELECT a.1${".1".repeat(500)} FROM (SELECT tuple(1) AS a)`,
      ])(); // prettier-ignore
}

type Disguise = (sql: string, random: Random, parts: Parts) => string;

const between = (sql: string, random: Random, what: readonly string[]) => sql.replaceAll(/ /g, () => (random.chance(0.5) ? random.pick(what) : " "));

/** Ways of writing the same, or nearly the same. */
const DISGUISES: readonly Disguise[] = [
  (sql, random) => Array.from(sql, (c) => (random.chance(0.5) ? c.toUpperCase() : c.toLowerCase())).join(""),
  (sql, random) => between(sql, random, ["/**/", "/* ; */", "/* /* */ */", "-- x\n", "--\t'\n", "# x\n", "#!x\n", "/*! */", "/* ' */"]),
  (sql, random) => between(sql, random, ["\t", "\n", "\r\n", "\v", "\f", "\u00a0", "\u2003", "\u3000", "\u200b", "\ufeff", "\u2028", "  "]),
  (sql, random) => sql.replaceAll(/[a-z_]+(?=\()/gi, (name) => (random.chance(0.5) ? random.pick([`"${name}"`, `\`${name}\``, `${name} `, `${name}/**/`, `\u201c${name}\u201d`]) : name)),
  (sql, random) => sql.replaceAll(/[a-z]/g, (c) => (random.chance(0.03) ? random.pick([`\\x${c.charCodeAt(0).toString(16)}`, `\\u00${c.charCodeAt(0).toString(16)}`, String.fromCodePoint(0xff00 + c.charCodeAt(0) - 32), `${c}\u0301`, c === "i" ? "\u0131" : c, c === "s" ? "\u017f" : c, c === "e" ? "\u0435" : c]) : c)),
  (sql, random) => {
    const at = random.between(0, sql.length);
    return sql.slice(0, at) + random.pick(["\0", "\ud800", "\udc00", "\u0007", "\u001b", "\ufffe", "\\", "'", '"', "`", "$$", "$a$", ";", "{", "}", "--", "/*", "*/", "#", "@", "\\G"]) + sql.slice(at);
  },
  (sql, random, { statements }) => `${sql}; ${random.pick(statements)}`,
  (sql, random) => `${sql} ${random.pick(["-- ", "/*", "#", ";--", "; ", "FORMAT JSON", "FORMAT Null --", "INTO OUTFILE 'x.csv'", "SETTINGS max_threads = 99", "SETTINGS readonly = 0 --", "LIMIT 1 BY 1", "\\G", ")", "') --", "UNION ALL"])}`,
  (sql, random) => `SELECT 1) ${random.pick(["UNION ALL", "INTERSECT", "EXCEPT", ", ("])} (${sql}`,
  (sql) => `SELECT $x$ ${sql} $x$`,
  (sql) => `SELECT '${sql.replaceAll("'", "''")}'`,
  (sql) => `EXPLAIN ${sql}`,
  (sql, random) => `WITH ${random.pick(["x", "file", "system", '"a"', "numbers"])} AS (${sql}) SELECT * FROM ${random.pick(["x", "file", '"a"', "numbers"])}`,
  (sql) => `SELECT * FROM (${sql})`,
  (sql) => `(((${sql})))`,
  (sql) => `SELECT (${sql}) AS x, * FROM (${sql}) AS t`,
  (sql, random) => (sql.length > 20_000 ? sql : `${sql} ${random.pick(["UNION ALL", "UNION DISTINCT", "EXCEPT", "INTERSECT"])} ${sql}`),
  (sql) => `SELECT * FROM numbers(1) WHERE 0 UNION ALL ${sql}`,
  (sql) => sql.replaceAll("'", "\u2019"),
  (sql) => sql.replaceAll(/'([^']*)'/g, "{s:String}"),
  (sql) => sql.replaceAll(/\bsystem\b/gi, "{t:Identifier}"),
  (sql, random) => sql.slice(0, random.between(0, sql.length)),
  (sql, random) => sql.slice(random.between(0, sql.length)),
];

function parametersFor(sql: string, random: Random, targets: Targets, { statements }: Parts): Readonly<Record<string, string>> {
  const values: Record<string, string> = {};
  for (const name of ["s", "t", "f"]) {
    if (!new RegExp(`\\{\\s*${name}\\s*:`).test(sql)) continue;
    values[name] = random.pick([targets.file, `${targets.url}/x`, "file", "system", "users", "'; DROP VIEW sae.features; --", random.pick(statements), "\\N", "\t\n\\'", "x' OR file('x') = '", "\0"]);
  }
  if (random.chance(0.05)) values[random.pick(["x", "max_execution_time", "a&max_threads=9", "", "query", "param_x"])] = random.pick(["1", "system.users", "&readonly=0"]);
  return values;
}
