/**
 * Cuts SQL text into its statements, because ClickHouse takes one at a time over HTTP. Semicolons in strings, quoted
 * names and comments do not cut; comments before a statement stay with it, empty statements are left out.
 */
export function splitStatements(sql: string): string[] {
  const statements: string[] = [];
  let start = 0;
  for (const { index, 0: token } of sql.matchAll(TOKENS)) {
    if (token !== ";") continue;
    statements.push(sql.slice(start, index));
    start = index + 1;
  }
  statements.push(sql.slice(start));
  return statements.map((statement) => statement.trim()).filter((statement) => statement.replaceAll(COMMENTS, "").trim() !== "");
}

const COMMENT = String.raw`--[^\n]*|\/\*[\s\S]*?\*\/`;
const QUOTED = ["'", '"', "`"].map((quote) => `${quote}(?:[^${quote}\\\\]|\\\\[\\s\\S]|${quote}${quote})*${quote}`).join("|");
const TOKENS = new RegExp(`${COMMENT}|${QUOTED}|;`, "g");
const COMMENTS = new RegExp(COMMENT, "g");
