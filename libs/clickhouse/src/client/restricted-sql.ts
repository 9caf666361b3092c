import { SqlError } from "./sql-error.ts";

interface Rule {
  readonly pattern: RegExp;
  readonly why: string;
}

/**
 * What the engine's own grants do not cover. In the library engine the scalar function file() reads any file of the
 * machine whoever calls it, so the word is refused wherever it stands, and so is every way of spelling it otherwise:
 * escapes in quoted names, names given as parameters, and SQL run from text.
 */
const RULES: readonly Rule[] = [
  { pattern: /(?<![\w$])file(?![\w$])/i, why: 'the word "file" is refused, because file() reads local files; pass it as a parameter if it is data' },
  { pattern: /["`][^"`]*\\/, why: "a backslash in a quoted name is refused; pass text as a parameter" },
  { pattern: /:\s*Identifier\b/i, why: "parameters of type Identifier are refused; write the name" },
  { pattern: /(?<![\w$])eval(?![\w$])/i, why: 'the word "eval" is refused; pass it as a parameter if it is data' },
  { pattern: /(?<![\w$])system["`]?(?:\s|\/\*[\s\S]*?\*\/|--[^\n]*\n)*\./i, why: "system tables are refused; SHOW TABLES lists the views" },
  { pattern: /information_schema/i, why: "information_schema is refused; SHOW TABLES lists the views" },
];

/** Throws a SqlError of failure `permission` for SQL that a restricted user may not send. The server refuses the rest. */
export function refuseUnsafeSql(sql: string): void {
  for (const { pattern, why } of RULES) {
    if (pattern.test(sql)) throw new SqlError(why, "permission", 497, "ACCESS_DENIED");
  }
}
