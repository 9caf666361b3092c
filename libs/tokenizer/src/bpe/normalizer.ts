import type { NormalizerStep } from "./model.ts";

/** A stretch of text as the words are cut from it. */
export interface Normalized {
  readonly text: string;
  /** The place in the stretch as it was written that a place of `text` comes from. */
  readonly origin: (at: number) => number;
}

const same = (at: number): number => at;

export function normalize(stretch: string, steps: readonly NormalizerStep[]): string {
  let text = stretch;
  for (const step of steps) text = apply(text, step);
  return text;
}

/** The same with where everything comes from. */
export function normalizeAligned(stretch: string, steps: readonly NormalizerStep[]): Normalized {
  let result: Normalized = { text: stretch, origin: same };
  for (const step of steps) {
    const { text, origin } = result;
    const next = apply(text, step);
    if (next === text) continue;
    const back = step.kind === "prepend" ? (at: number) => Math.max(0, at - step.text.length) : alignment(text, next, step);
    result = { text: next, origin: (at) => origin(back(at)) };
  }
  return result;
}

function apply(text: string, step: NormalizerStep): string {
  if (step.kind === "prepend") return text === "" ? "" : step.text + text;
  if (step.kind === "replace") return text.replaceAll(step.from, step.to);
  if (step.kind === "unicode") return text.normalize(step.form);
  const single = text.replace(/ {2,}/g, " ");
  return single.slice(single.startsWith(" ") ? 1 : 0, single.length > 1 && single.endsWith(" ") ? -1 : undefined);
}

/**
 * Aligns character by character (with its marks). A change that goes beyond one character leaves what follows it
 * aligned by the difference in length, kept within the text.
 */
function alignment(before: string, after: string, step: NormalizerStep): (at: number) => number {
  if (before.length === after.length) return same;
  const origins = new Uint32Array(after.length + 1);
  const unit = step.kind === "replace" ? step.from : undefined;
  let from = 0;
  let to = 0;
  while (from < before.length && to < after.length) {
    const cluster = unit !== undefined && before.startsWith(unit, from) ? unit : (/^\P{M}\p{M}*|^\p{M}+/u.exec(before.slice(from, from + 64))?.[0] ?? before[from]!);
    const length = after.startsWith(cluster, to) ? cluster.length : apply(cluster, step).length;
    origins.fill(from, to, Math.min(after.length, to + length));
    from += cluster.length;
    to += length;
  }
  origins.fill(before.length, Math.min(to, after.length));
  return (at) => origins[Math.min(at, after.length)]!;
}
