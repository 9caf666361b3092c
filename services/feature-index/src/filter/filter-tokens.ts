import { invalidArgument } from "@mistral-sae/rpc";

/** A word, number, operator or parenthesis of a filter, and where it begins. */
export interface FilterToken {
  readonly kind: "word" | "number" | "operator" | "open" | "close";
  readonly text: string;
  readonly at: number;
}

const TOKEN = /\s*(?:(?<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?<word>[A-Za-z_]\w*)|(?<operator><=|>=|!=|=|<|>)|(?<open>\()|(?<close>\)))/y;

/** Cuts a filter into its tokens. @throws INVALID_ARGUMENT naming the place of what is none. */
export function filterTokens(filter: string): FilterToken[] {
  const tokens: FilterToken[] = [];
  const end = filter.trimEnd().length;
  for (let at = 0; at < end; ) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(filter);
    if (match === null) throw invalidArgument("filter", `got ${JSON.stringify(filter.slice(at, at + 20))} at character ${at + 1}, wanted a field, a number, a comparison, AND, OR, NOT or a parenthesis`, "FILTER_SYNTAX");
    const [kind, text] = Object.entries(match.groups ?? {}).find(([, group]) => group !== undefined) as [FilterToken["kind"], string];
    tokens.push({ kind, text, at: TOKEN.lastIndex - text.length });
    at = TOKEN.lastIndex;
  }
  return tokens;
}
