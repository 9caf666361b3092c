import type { SplitStep } from "./model.ts";

/** A word and where it starts in the stretch it was cut from; negative by as much as was put before it. */
export interface Word {
  readonly text: string;
  readonly start: number;
}

interface CompiledStep {
  readonly step: SplitStep;
  readonly pattern: RegExp | undefined;
}

/** Cuts stretches of text into words, step by step. */
export class Splitter {
  readonly #steps: readonly CompiledStep[];

  constructor(steps: readonly SplitStep[]) {
    this.#steps = steps.map((step) => ({ step, pattern: step.kind === "pattern" ? new RegExp(step.source, "gu") : undefined }));
  }

  /** @param first whether the stretch starts the whole text. */
  split(stretch: string, first: boolean): Iterable<Word> {
    let words: Iterable<Word> = [{ text: stretch, start: 0 }];
    for (const { step, pattern } of this.#steps) {
      const from = words;
      if (step.kind === "prefix") words = prefixed(from, step.text, step.onlyFirst, first);
      else if (step.kind === "replace") words = replaced(from, step.from, step.to);
      else words = cut(from, pattern!, step);
    }
    return words;
  }
}

function* prefixed(words: Iterable<Word>, prefix: string, onlyFirst: boolean, first: boolean): Generator<Word> {
  for (const { text, start } of words) {
    const wanted = (!onlyFirst || (first && start === 0)) && !text.startsWith(prefix);
    yield wanted ? { text: prefix + text, start: start - prefix.length } : { text, start };
  }
}

function* replaced(words: Iterable<Word>, from: string, to: string): Generator<Word> {
  for (const { text, start } of words) yield { text: text.replaceAll(from, to), start };
}

function* cut(words: Iterable<Word>, pattern: RegExp, { behavior, invert }: SplitStep & { kind: "pattern" }): Generator<Word> {
  for (const { text, start } of words) {
    /** Start of what waits for its neighbour. */
    let pending = 0;
    const merges = behavior === "MergedWithPrevious" || behavior === "MergedWithNext";
    for (const [from, to, matched] of stretches(text, pattern)) {
      const isMatch = matched !== invert;
      if (!merges) {
        if (!isMatch || behavior === "Isolated") yield { text: from === 0 && to === text.length ? text : text.slice(from, to), start: start + from };
        continue;
      }
      if (behavior === "MergedWithPrevious" ? isMatch : !isMatch) {
        // Ends a word: a match takes what precedes it, or a gap takes the match that precedes it.
        yield { text: text.slice(pending, to), start: start + pending };
        pending = to;
      } else if (pending < from) {
        yield { text: text.slice(pending, from), start: start + pending };
        pending = from;
      }
    }
    if (merges && pending < text.length) yield { text: text.slice(pending), start: start + pending };
  }
}

/** The text as matches and the gaps between them. */
function* stretches(text: string, pattern: RegExp): Generator<[from: number, to: number, matched: boolean]> {
  let at = 0;
  pattern.lastIndex = 0;
  for (let found = pattern.exec(text); found !== null; found = pattern.exec(text)) {
    const [match] = found;
    if (match === "") {
      pattern.lastIndex += (text.codePointAt(found.index) ?? 0) > 0xffff ? 2 : 1;
      continue;
    }
    if (found.index > at) yield [at, found.index, false];
    at = found.index + match.length;
    yield [found.index, at, true];
  }
  if (at < text.length) yield [at, text.length, false];
}
