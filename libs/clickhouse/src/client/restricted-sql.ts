import { mayCall } from "./allowed-functions.ts";
import { refuseLongPatterns } from "./pattern-arguments.ts";
import { SqlError } from "./sql-error.ts";
import { type SqlToken, sqlTokens } from "./sql-tokens.ts";

/** Longest statement, in characters, and deepest brackets. */
export const restrictedSqlLimits = { characters: 256 << 10, depth: 64 } as const;

// Words of the language that stand before a bracket.
const BEFORE_BRACKET = new Set(
  `all and any array as asc between by case columns cross cube desc distinct else end except exclude exists extract fetch fill filter first following for from full
   global group having ilike in inner intersect interpolate interval into is join last left like limit next not nulls offset on only or order outer over partition
   preceding prewhere qualify replace respect right rollup rows range select semi anti asof sets step strict then ties to totals union using values when where window with apply cast`.split(/\s+/),
);

// Statements that there are, but not for these users; another first word is a mistake.
const STATEMENTS = /^(?:alter|attach|backup|begin|call|check|commit|copy|create|deallocate|delete|desc|describe|detach|drop|exchange|execute|exists|explain|grant|insert|kill|move|optimize|prepare|rename|replace|restore|revoke|rollback|set|show|system|truncate|undrop|update|use|watch)$/;

// Refused wherever they stand: a function may be passed on by its bare name, and these are what the server's grants do not cover.
const NEVER = /^(?:file|fileCluster|eval|evalMLMethod|catboostEvaluate|dict(?:Get|Has|Is).*|joinGet.*|filesystem.*|sleep.*|get(?:Setting|ServerSetting|MergeTreeSetting|Macro|ClientHTTPHeader).*|globalVariable|showCertificate|addressTo.*|logTrace|hasColumnInTable|naiveBayes.*|ai(?:Generate|Classify|Embed|Extract|Translate)|executable|infile|outfile|settings|system|information_schema)$/i;

/**
 * SQL that a restricted user may send, without comments and the last semicolon: one SELECT, DESCRIBE, EXPLAIN of a SELECT, or
 * SHOW TABLES, that calls listed functions only. The server refuses what its grants cover (tables, writes, files and URLs as
 * tables); this refuses what they do not: in the library engine the scalar function file() reads any file of the machine,
 * also when it is passed on as in `arrayMap(file, …)`, and SETTINGS of a subquery are not held to the user's limits.
 * Of `parameters` only the lengths of patterns are looked at.
 * @throws SqlError of failure `permission` or `statement`.
 */
export function restrictedSql(sql: string, parameters: Readonly<Record<string, string>> = {}): string {
  const { characters, depth } = restrictedSqlLimits;
  if (sql.length > characters) throw new SqlError(`the statement has ${sql.length} characters, wanted at most ${characters}; pass data as parameters`, "statement", 62, "SYNTAX_ERROR");
  const { tokens, text } = sqlTokens(sql);
  const last = tokens.at(-1);
  const ended = last?.text === ";" && last.kind === "symbol";
  const statement = ended ? tokens.slice(0, -1) : tokens;
  refuseStatement(statement);
  refuseBrackets(statement, depth);
  for (const i of statement.keys()) refuseToken(statement, i);
  refuseIdentifierParameters(statement);
  refuseLongPatterns(statement, parameters);
  return (ended ? text.slice(0, last.at) : text).trim();
}

function refuseStatement(tokens: readonly SqlToken[]): void {
  const word = (i: number): string => (tokens[i]?.kind === "word" ? tokens[i].text.toLowerCase() : (tokens[i]?.text ?? ""));
  const isSelect = (i: number): boolean => ["select", "with", "("].includes(word(i)) || (word(i) === "from" && i === 0);
  if (tokens.length === 0) throw new SqlError("there is no statement", "statement", 62, "SYNTAX_ERROR");
  if (isSelect(0)) return;
  if (["describe", "desc"].includes(word(0))) return;
  if (word(0) === "show" && word(1) === "tables") return;
  if (word(0) === "explain") {
    let i = 1;
    while (["ast", "syntax", "query", "tree", "plan", "pipeline", "estimate"].includes(word(i))) i += 1;
    while (word(i + 1) === "=") i += word(i + 3) === "," ? 4 : 3;
    if (isSelect(i)) return;
  }
  const why = `${JSON.stringify(tokens[0]?.text)} begins no statement that is allowed; wanted SELECT, WITH, EXPLAIN SELECT, DESCRIBE a view, or SHOW TABLES`;
  throw STATEMENTS.test(word(0)) ? denied(why) : new SqlError(why, "statement", 62, "SYNTAX_ERROR");
}

function refuseBrackets(tokens: readonly SqlToken[], most: number): void {
  const open: string[] = [];
  for (const { kind, text, at } of tokens) {
    if (kind !== "symbol") continue;
    const close = { "(": ")", "[": "]", "{": "}" }[text];
    if (close !== undefined) open.push(close);
    else if (")]}".includes(text) && open.pop() !== text) throw new SqlError(`${text} at character ${at + 1} closes nothing`, "statement", 62, "SYNTAX_ERROR");
    if (open.length > most) throw new SqlError(`brackets are nested deeper than ${most}, at character ${at + 1}`, "statement", 167, "TOO_DEEP_AST");
    if (text === ";") throw new SqlError(`a second statement begins after character ${at + 1}, wanted one`, "statement", 62, "SYNTAX_ERROR");
  }
  if (open.length > 0) throw new SqlError(`the statement ends without ${open.toReversed().join("")}`, "statement", 62, "SYNTAX_ERROR");
}

function refuseToken(tokens: readonly SqlToken[], i: number): void {
  const { kind, text } = tokens[i] as SqlToken;
  const after = tokens[i + 1];
  if (kind === "string" ? /AggregateFunction/i.test(text) : /^(?:Simple)?AggregateFunction$/i.test(text)) throw denied("AggregateFunction is refused, because states made by hand are");
  if (kind !== "word" && kind !== "name") return;
  if (NEVER.test(text)) throw denied(reasonOf(text));
  const called = isSymbol(after, "(");
  if (isWord(tokens[i], "format") && after?.kind === "word") throw denied("FORMAT is refused; choose the format of the call");
  const keyword = kind === "word" && BEFORE_BRACKET.has(text.toLowerCase());
  if (called && !keyword && !mayCall(text)) throw denied(unknownFunction(text));
  // A function passed on: SELECT * APPLY name, or APPLY(name).
  const applied = isWord(tokens[i - 1], "apply") || (isSymbol(tokens[i - 1], "(") && isWord(tokens[i - 2], "apply"));
  if (applied && !isSymbol(after, "-") && !mayCall(text)) throw denied(unknownFunction(text));
}

/** {name:Identifier} would put any name anywhere. */
function refuseIdentifierParameters(tokens: readonly SqlToken[]): void {
  let depth = 0;
  for (const { kind, text } of tokens) {
    if (kind === "symbol" && text === "{") depth += 1;
    if (kind === "symbol" && text === "}") depth -= 1;
    if (depth > 0 && kind !== "string" && /^identifier$/i.test(text)) throw denied("parameters of type Identifier are refused; write the name");
  }
}

function isWord(token: SqlToken | undefined, word: string): boolean {
  return token?.kind === "word" && token.text.toLowerCase() === word;
}

function isSymbol(token: SqlToken | undefined, text: string): boolean {
  return token?.kind === "symbol" && token.text === text;
}

function reasonOf(name: string): string {
  if (/^(?:system|information_schema)$/i.test(name)) return `the name ${JSON.stringify(name)} is refused, because system tables are; SHOW TABLES lists the views`;
  if (/^settings$/i.test(name)) return "SETTINGS are refused: the limits of a query are the server's";
  return `the name ${JSON.stringify(name)} is refused, because of a function of that name; pass it as a parameter if it is data, and call a column or alias otherwise`;
}

function unknownFunction(name: string): string {
  return `the function ${JSON.stringify(name)} is not one that queries may call; allowed are arithmetic, statistics, text, arrays and time`;
}

function denied(why: string): SqlError {
  return new SqlError(why, "permission", 497, "ACCESS_DENIED");
}
