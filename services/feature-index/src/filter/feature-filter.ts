import { invalidArgument } from "@mistral-sae/rpc";
import { type FilterToken, filterTokens } from "./filter-tokens.ts";

/** A part of a query: SQL, and the values of the parameters in it. */
export interface SqlPart {
  readonly sql: string;
  readonly params: Readonly<Record<string, number>>;
  /** Fields that it mentions. */
  readonly fields: ReadonlySet<string>;
}

interface Field {
  readonly sql: string;
  readonly type: "number" | "boolean";
}

/** What features are filtered and ordered by, over the rows of features (s) and best explanations (e). */
export const FIELDS: Readonly<Record<string, Field>> = {
  feature_index: { sql: "s.feature_index", type: "number" },
  n_firings: { sql: "if(s.imported = 1, NULL, s.n_firings)", type: "number" },
  frac_nonzero: { sql: "if(s.imported = 1, s.given_frac_nonzero, s.n_firings / {counted_tokens:Float64})", type: "number" },
  max_activation: { sql: "s.max_activation", type: "number" },
  mean_activation: { sql: "multiIf(s.imported = 1, NULL, s.n_firings = 0, 0, s.sum_activation / s.n_firings)", type: "number" },
  dead: { sql: "(s.n_firings = 0 AND s.imported = 0)", type: "boolean" },
  explained: { sql: "(e.explanations > 0)", type: "boolean" },
  score: { sql: "e.score", type: "number" },
};

/** Fields that come from the explanations. */
export const EXPLANATION_FIELDS = ["explained", "score"] as const;

const OPERATORS = ["=", "!=", "<", "<=", ">", ">="];
const DEEPEST = 50;
const LONGEST = 4_096;

/**
 * An AIP-160 filter as SQL: comparisons of a field with a number or true/false, AND, OR, NOT, parentheses; terms side by
 * side are joined by AND. https://google.aip.dev/160
 * @throws INVALID_ARGUMENT naming what was got and what was wanted.
 */
export function featureFilter(filter: string): SqlPart {
  if (filter.length > LONGEST) throw invalidArgument("filter", `got ${filter.length} characters, wanted at most ${LONGEST}`, "FILTER_SYNTAX");
  const parser = new FilterParser(filterTokens(filter));
  const sql = filter.trim() === "" ? "1" : parser.whole();
  return { sql, params: parser.params, fields: parser.fields };
}

/** An AIP-132 order: fields with an optional "desc", separated by commas; ties are broken by the feature's index. */
export function featureOrder(orderBy: string): SqlPart {
  const fields = new Set<string>();
  const terms = orderBy.split(",").map((term) => term.trim()).filter((term) => term !== "").map((term) => {
    const [name = "", direction = "asc", ...rest] = term.split(/\s+/);
    if (rest.length > 0 || !["asc", "desc"].includes(direction.toLowerCase())) throw invalidArgument("order_by", `got ${JSON.stringify(term)}, wanted a field, or a field and "desc"`, "ORDER_SYNTAX");
    fields.add(name);
    return `${fieldOf("order_by", name).sql} ${direction.toUpperCase()} NULLS LAST`;
  });
  return { sql: [...terms, "s.feature_index"].join(", "), params: {}, fields };
}

class FilterParser {
  readonly #tokens: readonly FilterToken[];
  readonly #params: Record<string, number> = {};
  readonly #fields = new Set<string>();
  #next = 0;
  #depth = 0;

  constructor(tokens: readonly FilterToken[]) {
    this.#tokens = tokens;
  }

  get params(): Readonly<Record<string, number>> {
    return this.#params;
  }

  get fields(): ReadonlySet<string> {
    return this.#fields;
  }

  whole(): string {
    const sql = this.#or();
    const rest = this.#tokens[this.#next];
    if (rest !== undefined) throw wrong(rest, "the end, AND or OR");
    return sql;
  }

  #or(): string {
    this.#depth += 1;
    if (this.#depth > DEEPEST) throw invalidArgument("filter", `it is nested deeper than ${DEEPEST}`, "FILTER_SYNTAX");
    const terms = [this.#and()];
    while (this.#takeWord("OR")) terms.push(this.#and());
    this.#depth -= 1;
    return terms.length === 1 ? (terms[0] as string) : `(${terms.join(" OR ")})`;
  }

  #and(): string {
    const terms = [this.#term()];
    for (;;) {
      const next = this.#tokens[this.#next];
      if (next === undefined || next.kind === "close" || isWord(next, "OR")) break;
      this.#takeWord("AND");
      terms.push(this.#term());
    }
    return terms.length === 1 ? (terms[0] as string) : `(${terms.join(" AND ")})`;
  }

  #term(): string {
    if (this.#takeWord("NOT")) return `NOT ${this.#term()}`;
    const token = this.#tokens[this.#next];
    if (token?.kind === "open") {
      this.#next += 1;
      const inner = this.#or();
      const close = this.#tokens[this.#next++];
      if (close?.kind !== "close") throw wrong(close, '")"');
      return `(${inner})`;
    }
    return this.#comparison();
  }

  #comparison(): string {
    const name = this.#tokens[this.#next++];
    if (name?.kind !== "word" || isWord(name, "AND") || isWord(name, "OR")) throw wrong(name, `a field: ${Object.keys(FIELDS).join(", ")}`);
    const field = fieldOf("filter", name.text);
    this.#fields.add(name.text);
    const operator = this.#tokens[this.#next];
    if (operator?.kind !== "operator") {
      if (field.type === "boolean") return field.sql;
      throw wrong(operator, `one of ${OPERATORS.join(" ")} after ${name.text}`);
    }
    this.#next += 1;
    const value = this.#tokens[this.#next++];
    if (field.type === "boolean") {
      const truth = ["true", "false"].indexOf(value?.text.toLowerCase() ?? "");
      if (truth < 0 || !["=", "!="].includes(operator.text)) throw wrong(value, `= true or = false after ${name.text}`);
      return `${field.sql} ${operator.text} ${1 - truth}`;
    }
    if (value?.kind !== "number") throw wrong(value, `a number after ${name.text} ${operator.text}`);
    const parameter = `f${Object.keys(this.#params).length}`;
    this.#params[parameter] = Number(value.text);
    return `ifNull(${field.sql} ${operator.text} {${parameter}:Float64}, 0)`;
  }

  #takeWord(word: string): boolean {
    const token = this.#tokens[this.#next];
    if (token === undefined || !isWord(token, word)) return false;
    this.#next += 1;
    return true;
  }
}

function isWord({ kind, text }: FilterToken, word: string): boolean {
  return kind === "word" && text === word;
}

function fieldOf(request: "filter" | "order_by", name: string): Field {
  const field = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
  if (field === undefined) throw invalidArgument(request, `got the field ${JSON.stringify(name)}, wanted one of ${Object.keys(FIELDS).join(", ")}`, "UNKNOWN_FIELD");
  return field;
}

function wrong(token: FilterToken | undefined, wanted: string) {
  const got = token === undefined ? "the end" : `${JSON.stringify(token.text)} at character ${token.at + 1}`;
  return invalidArgument("filter", `got ${got}, wanted ${wanted}`, "FILTER_SYNTAX");
}
