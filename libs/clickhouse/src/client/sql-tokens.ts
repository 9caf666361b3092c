import { SqlError } from "./sql-error.ts";

/** A piece of SQL that is neither space nor comment. */
export interface SqlToken {
  readonly kind: "word" | "name" | "string" | "number" | "symbol";
  /** As it is written; of a quoted name what stands between its quotes. */
  readonly text: string;
  readonly at: number;
}

const SPACE = /[ \t\r\n\f\v]+/y;
const LINE_COMMENT = /--[^\n]*/y;
const TOKENS: readonly (readonly [SqlToken["kind"], RegExp])[] = [
  ["word", /[A-Za-z_]\w*/y],
  ["number", /\d\w*(?:\.\d\w*)?(?:(?<=[eE])[+-]\d\w*)?/y],
  ["string", /'(?:[^'\\]|\\[\s\S]|'')*'/y],
  ["name", /"(?:[^"\\]|"")*"|`(?:[^`\\]|``)*`/y],
  ["symbol", /[()[\]{},.;+\-*/%=<>!|?:^]/y],
];

/**
 * Cuts SQL as ClickHouse does, as far as it is cut without doubt: other quotes, here-documents, escapes in quoted names and
 * whatever else could be read in two ways is refused. Gives the tokens, and the same text with its comments blanked.
 * https://github.com/ClickHouse/ClickHouse/blob/master/src/Parsers/Lexer.cpp
 * @throws SqlError of failure `statement`.
 */
export function sqlTokens(sql: string): { readonly tokens: readonly SqlToken[]; readonly text: string } {
  const tokens: SqlToken[] = [];
  let text = "";
  let at = 0;
  while (at < sql.length) {
    const skipped = skip(sql, at);
    if (skipped > at) {
      text += sql.slice(at, skipped).replaceAll(/[^\n]/g, " ");
      at = skipped;
      continue;
    }
    const token = next(sql, at);
    const end = at + token.length;
    tokens.push({ kind: token.kind, text: token.kind === "name" ? token.text.slice(1, -1) : token.text, at });
    text += token.text;
    at = end;
  }
  return { tokens, text };
}

/** Where spaces and comments that begin at `at` end; comments hold comments. */
function skip(sql: string, at: number): number {
  const plain = matchAt(SPACE, sql, at) ?? matchAt(LINE_COMMENT, sql, at);
  if (plain !== undefined) return at + plain.length;
  if (!sql.startsWith("/*", at)) return at;
  let depth = 0;
  for (let i = at; i < sql.length; i++) {
    if (sql.startsWith("/*", i)) depth += 1;
    else if (sql.startsWith("*/", i)) depth -= 1;
    else continue;
    i += 1;
    if (depth === 0) return i + 1;
  }
  throw refused(sql, at, "begins a comment that does not end");
}

function next(sql: string, at: number): { readonly kind: SqlToken["kind"]; readonly text: string; readonly length: number } {
  for (const [kind, pattern] of TOKENS) {
    const text = matchAt(pattern, sql, at);
    if (text !== undefined) return { kind, text, length: text.length };
  }
  if ("\"'`".includes(sql[at] ?? "")) throw refused(sql, at, "begins a quote that does not end, or a quoted name with a backslash");
  throw refused(sql, at, "is not read here outside quotes; wanted plain SQL in ASCII, texts in 'single quotes'");
}

function matchAt(pattern: RegExp, sql: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(sql)?.[0];
}

function refused(sql: string, at: number, why: string): SqlError {
  const character = String.fromCodePoint(sql.codePointAt(at) ?? 0);
  return new SqlError(`${JSON.stringify(character)} (${codePoint(character)}) at character ${at + 1} ${why}`, "statement", 62, "SYNTAX_ERROR");
}

function codePoint(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}
