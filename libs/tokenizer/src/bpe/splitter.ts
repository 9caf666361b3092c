import { InputError } from "@mistral-sae/tensor";
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
      else if (step.kind === "marked") words = marked(from, step.mark);
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

function* marked(words: Iterable<Word>, mark: string): Generator<Word> {
  for (const { text, start } of words) {
    for (let at = 0; at < text.length; ) {
      let end = at;
      while (text[end] === mark) end++;
      const next = text.indexOf(mark, end);
      end = next < 0 ? text.length : next;
      yield { text: at === 0 && end === text.length ? text : text.slice(at, end), start: start + at };
      at = end;
    }
  }
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
  for (let found = search(pattern, text); found !== null; found = search(pattern, text)) {
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

/** @throws InputError where a repetition runs over more characters than the engine can go back over. */
function search(pattern: RegExp, text: string): RegExpExecArray | null {
  try {
    return pattern.exec(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InputError("text: holds a word that is too long to be cut off", { field: "text", got: `${text.length} characters`, wanted: "words of at most some million" }, { cause: error });
  }
}
