const COMMENT = /--[^\n]*|\/\*[\s\S]*?\*\//;
const QUOTED = /'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S])*"|`(?:[^`\\]|\\[\s\S])*`/;
const TOKENS = new RegExp(`${COMMENT.source}|${QUOTED.source}`, "g");

/** SQL without its comments, with single spaces; strings stay as they are. */
export function plainSql(sql: string): string {
  let plain = "";
  let from = 0;
  for (const { index, 0: token } of sql.matchAll(TOKENS)) {
    plain += sql.slice(from, index).replaceAll(/\s+/g, " ");
    plain += token.startsWith("--") || token.startsWith("/*") ? " " : token;
    from = index + token.length;
  }
  return `${plain}${sql.slice(from).replaceAll(/\s+/g, " ")}`.trim();
}

/** Parts of plain SQL between the commas that stand outside of parentheses and strings. */
export function splitList(sql: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let depth = 0;
  for (const { index, 0: token } of sql.matchAll(new RegExp(`${QUOTED.source}|[(),]`, "g"))) {
    if (token === "(") depth += 1;
    else if (token === ")") depth -= 1;
    else if (token === "," && depth === 0) {
      parts.push(sql.slice(start, index).trim());
      start = index + 1;
    }
  }
  parts.push(sql.slice(start).trim());
  return parts.filter((part) => part !== "");
}

/** What stands in the parentheses that open at or after `from`, and where they close. @throws Error when they do not. */
export function inParentheses(sql: string, from = 0): { readonly inside: string; readonly end: number } {
  const open = sql.indexOf("(", from);
  let depth = 0;
  for (const { index, 0: token } of sql.slice(open).matchAll(new RegExp(`${QUOTED.source}|[()]`, "g"))) {
    if (token === "(") depth += 1;
    else if (token === ")" && --depth === 0) return { inside: sql.slice(open + 1, open + index), end: open + index + 1 };
  }
  throw new Error(`parentheses do not close: ${sql.slice(0, 200)}`);
}

/** The type in a column's declaration, after its name: all before DEFAULT, CODEC and their like. */
export function typeIn(declaration: string): string {
  let depth = 0;
  for (const { index, 0: token } of declaration.matchAll(new RegExp(`${QUOTED.source}|[()]|\\b(?:DEFAULT|MATERIALIZED|ALIAS|EPHEMERAL|COMMENT|CODEC|STATISTICS|TTL|SETTINGS|PRIMARY|FIRST|AFTER)\\b`, "g"))) {
    if (token === "(") depth += 1;
    else if (token === ")") depth -= 1;
    else if (depth === 0 && /^[A-Z]/.test(token)) return declaration.slice(0, index).trim();
  }
  return declaration.trim();
}

/** Text that is equal for equal types and keys: without spaces outside of strings. */
export function canonical(sql: string): string {
  return sql.replaceAll(new RegExp(`(${QUOTED.source})|\\s+`, "g"), (_, quoted: string | undefined) => quoted ?? "");
}
