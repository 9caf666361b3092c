import { SqlError } from "./sql-error.ts";
import type { SqlToken } from "./sql-tokens.ts";

/** Longest pattern; repetitions like {3,5} count as often as they repeat. */
const MOST_CHARACTERS = 256;
const MOST_WEIGHT = 10_000;

// By name in lower case: which argument is a pattern.
const PATTERN_ARGUMENT: Readonly<Record<string, number>> = {
  ...Object.fromEntries("like notlike ilike notilike match extractall extractallgroups extractallgroupshorizontal extractallgroupsvertical extractgroups regexpextract regexp_extract countmatches countmatchescaseinsensitive replaceregexpone replaceregexpall regexp_replace".split(" ").map((name) => [name, 1])),
  splitbyregexp: 0,
};
const OPERATORS = new Set(["like", "ilike", "regexp", "rlike"]);

/**
 * Refuses patterns that are made by the query or are too long: matching takes as long as text and pattern together, and is
 * not stopped by the limit of time. LIKE, ILIKE, REGEXP and functions of patterns take a text in quotes or a parameter.
 * @throws SqlError of failure `permission`.
 */
export function refuseLongPatterns(tokens: readonly SqlToken[], parameters: Readonly<Record<string, string>>): void {
  for (const [i, token] of tokens.entries()) {
    // {name:Type}: the name of a parameter.
    if ((token.kind !== "word" && token.kind !== "name") || isSymbol(tokens[i - 1], "{")) continue;
    const name = token.text.toLowerCase();
    const called = isSymbol(tokens[i + 1], "(");
    const before = isWord(tokens[i - 1], "not") ? tokens[i - 2] : tokens[i - 1];
    if (token.kind === "word" && OPERATORS.has(name) && endsValue(before)) requirePattern(name, operandAt(tokens, i + 1), parameters);
    else if (name === "extract" && called && !hasFrom(tokens, i + 1)) requirePattern(name, argumentOf(tokens, i + 1, 1), parameters);
    else if (!Object.hasOwn(PATTERN_ARGUMENT, name)) continue;
    else if (called) requirePattern(name, argumentOf(tokens, i + 1, PATTERN_ARGUMENT[name] as number), parameters);
    else throw denied(`a pattern is wanted after ${token.text}: write ${token.text}(text, 'pattern')`);
  }
}

/** EXTRACT(year FROM time) takes no pattern. */
function hasFrom(tokens: readonly SqlToken[], open: number): boolean {
  return tokens[open + 2]?.kind === "word" && tokens[open + 2]?.text.toLowerCase() === "from";
}

/** Whether an operator may follow. */
function endsValue(token: SqlToken | undefined): boolean {
  if (token === undefined) return false;
  if (token.kind === "symbol") return ")]}".includes(token.text);
  return token.kind !== "word" || !/^(?:select|distinct|where|and|or|not|on|by|having|then|else|when|case|prewhere|qualify|like|as)$/i.test(token.text);
}

/** Tokens of an argument of the call that opens at `open`. */
function argumentOf(tokens: readonly SqlToken[], open: number, wanted: number): readonly SqlToken[] {
  const found: SqlToken[] = [];
  let depth = 0;
  let at = 0;
  for (const token of tokens.slice(open)) {
    const symbol = token.kind === "symbol" ? token.text : "";
    if (")]}".includes(symbol) && symbol !== "" && --depth === 0) break;
    if (depth === 1 && symbol === ",") at += 1;
    else if (depth > 0 && at === wanted) found.push(token);
    if ("([{".includes(symbol) && symbol !== "") depth += 1;
  }
  return found;
}

/** What stands after an operator, up to what ends its operand. */
function operandAt(tokens: readonly SqlToken[], start: number): readonly SqlToken[] {
  const found: SqlToken[] = [];
  let depth = 0;
  for (const token of tokens.slice(start)) {
    const symbol = token.kind === "symbol" ? token.text : "";
    if (depth === 0 && (token.kind === "word" || ([",", ")", "]", "?", ";"].includes(symbol) && symbol !== "")) && found.length > 0) break;
    if (symbol === "{" || symbol === "(") depth += 1;
    if (symbol === "}" || symbol === ")") depth -= 1;
    found.push(token);
  }
  return found;
}

function requirePattern(name: string, argument: readonly SqlToken[], parameters: Readonly<Record<string, string>>): void {
  const [first, second] = argument;
  const text = argument.length === 1 && first?.kind === "string" ? first.text : isSymbol(first, "{") && isSymbol(argument.at(-1), "}") && second !== undefined ? (parameters[second.text] ?? "") : undefined;
  if (text === undefined) throw denied(`the pattern of ${name} is refused, because the query makes it: write it in 'single quotes', or as a parameter`);
  const weight = [...text.matchAll(/\{(\d+)(?:,(\d*))?\}/g)].reduce((product, [, least, most]) => product * Math.max(1, Number(least), Number(most ?? 0)), text.length);
  if (text.length > MOST_CHARACTERS || weight > MOST_WEIGHT) {
    throw denied(`the pattern of ${name} has ${text.length} characters, ${weight} with its repetitions; wanted at most ${MOST_CHARACTERS}, ${MOST_WEIGHT} with repetitions`);
  }
}

function isWord(token: SqlToken | undefined, word: string): boolean {
  return token?.kind === "word" && token.text.toLowerCase() === word;
}

function isSymbol(token: SqlToken | undefined, text: string): boolean {
  return token?.kind === "symbol" && token.text === text;
}

function denied(why: string): SqlError {
  return new SqlError(why, "permission", 497, "ACCESS_DENIED");
}
