import { sqlTokens } from "@mistral-sae/clickhouse";
import { invalidArgument } from "@mistral-sae/rpc";

/** A `{name:Type}` of a statement. */
export interface QueryParameter {
  readonly name: string;
  readonly type: string;
}

// They travel in the URL.
const MOST_CHARACTERS = 64 << 10;

/** The parameters of a statement in the order in which they stand, each once. */
export function parametersOf(sql: string): readonly QueryParameter[] {
  const { tokens, text } = sqlTokens(sql);
  const found = new Map<string, QueryParameter>();
  for (const [i, token] of tokens.entries()) {
    const name = tokens[i + 1];
    if (token.text !== "{" || token.kind !== "symbol" || name === undefined || tokens[i + 2]?.text !== ":") continue;
    const end = tokens.find(({ kind, text: close, at }) => at > name.at && kind === "symbol" && close === "}");
    const type = text.slice((tokens[i + 2]?.at ?? 0) + 1, end?.at).trim();
    if (!found.has(name.text)) found.set(name.text, { name: name.text, type });
  }
  return [...found.values()];
}

/** Refuses values that the statement has no place for, and too much of them. @throws INVALID_ARGUMENT. */
export function checkParameters(sql: string, given: Readonly<Record<string, string>>): void {
  const wanted = parametersOf(sql).map(({ name }) => name);
  for (const name of Object.keys(given)) {
    if (!wanted.includes(name)) throw invalidArgument(`parameters[${JSON.stringify(name)}]`, `the statement has no such parameter; it has ${wanted.join(", ") || "none"}`);
  }
  const missing = wanted.find((name) => !Object.hasOwn(given, name));
  if (missing !== undefined) throw invalidArgument("parameters", `${JSON.stringify(missing)} has no value; the statement wants ${wanted.join(", ")}`);
  const characters = Object.values(given).reduce((sum, value) => sum + value.length, 0);
  if (characters > MOST_CHARACTERS) throw invalidArgument("parameters", `got ${characters} characters, wanted at most ${MOST_CHARACTERS} together`);
}
