import type { ActivationExample } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { isSpecial, oneLine, tokenText, visibleToken } from "../token-text.ts";

/** A run of tokens that recurs where a feature fires. */
export interface ContextPattern {
  /** As read, on one line. */
  readonly text: string;
  /** Share of the examples that show it. */
  readonly share: number;
  /** Whether the firing token is part of it, or comes right after it. */
  readonly position: "around" | "after";
}

const longest = 4;
/** A pattern is worth words when this share of the examples shows it, and at least three of them. */
const leastShare = 0.3;
const leastCount = 3;

interface Count {
  n: number;
  length: number;
  text: string;
}

/**
 * The runs of 2 to 4 tokens around the firing token, and of 1 to 3 tokens right before it, that most examples share:
 * at most one of each, the one that covers most text, longer runs before their own parts.
 */
export function contextPatterns(examples: readonly ActivationExample[]): ContextPattern[] {
  const around = new Map<string, Count>();
  const after = new Map<string, Count>();
  for (const { tokens, qualifyingTokenIndex: at } of examples) {
    const texts = tokens?.strTokens ?? [];
    if (at >= texts.length) continue;
    const special = tokens?.isSpecial ?? new Uint8Array();
    const seen = { around: new Set<string>(), after: new Set<string>() };
    const count = (table: Map<string, Count>, seenHere: Set<string>, start: number, end: number): void => {
      for (let i = start; i < end; i++) if (isSpecial(special, i)) return;
      const run = texts.slice(start, end).map(tokenText);
      // A line break or a blank at the edge adds nothing to read.
      if (run[0]?.trim() === "" || run.at(-1)?.trim() === "") return;
      const text = run.join("");
      const key = oneLine(text).toLowerCase();
      // The firing token with a comma says no more than the token.
      if (start <= at && end > at && lettersOf(key) === lettersOf(texts[at] ?? "")) return;
      if (key === "" || seenHere.has(key)) return;
      seenHere.add(key);
      const entry = table.get(key) ?? { n: 0, length: end - start, text: oneLine(text) };
      entry.n += 1;
      table.set(key, entry);
    };
    for (let length = 2; length <= longest; length++) {
      for (let start = Math.max(0, at - length + 1); start <= at && start + length <= texts.length; start++) {
        count(around, seen.around, start, start + length);
      }
    }
    for (let length = 1; length < longest && length <= at; length++) count(after, seen.after, at - length, at);
  }
  const patterns: ContextPattern[] = [];
  const firstTokens = new Set(examples.map((example) => firingToken(example)));
  const best = strongest(around, examples.length);
  if (best !== undefined) patterns.push({ text: best.text, share: best.n / examples.length, position: "around" });
  // What comes before says something of its own only where the firing token varies.
  const before = firstTokens.size > 2 ? strongest(after, examples.length) : undefined;
  if (before !== undefined && !(best?.text.toLowerCase().includes(before.text.toLowerCase()) ?? false)) {
    patterns.push({ text: before.text, share: before.n / examples.length, position: "after" });
  }
  return patterns;
}

function lettersOf(text: string): string {
  return text.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "");
}

function firingToken({ tokens, qualifyingTokenIndex }: ActivationExample): string {
  return visibleToken(tokens?.strTokens[qualifyingTokenIndex] ?? "").toLowerCase();
}

function strongest(counts: ReadonlyMap<string, Count>, total: number): Count | undefined {
  let best: Count | undefined;
  for (const entry of counts.values()) {
    if (entry.n < leastCount || entry.n < leastShare * total || !/[\p{L}\p{N}]/u.test(entry.text)) continue;
    const gain = entry.n * entry.length - (best === undefined ? 0 : best.n * best.length);
    if (best === undefined || gain > 0 || (gain === 0 && entry.text < best.text)) best = entry;
  }
  return best;
}
