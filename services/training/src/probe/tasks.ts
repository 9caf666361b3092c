import { Random } from "@mistral-sae/sae";
import { NONE, type TokenTable } from "./token-table.ts";
import type { ProbeTokens } from "./read-tokens.ts";

export type TaskKind = "word" | "letter" | "source" | "position";
export const TASK_KINDS: readonly TaskKind[] = ["word", "letter", "source", "position"];

/** Tokens of one side of a task; as many of each class. Entries are tokens of the side's table. */
export interface Examples {
  readonly positive: readonly number[];
  readonly negative: readonly number[];
}

/** One binary task. */
export interface Task {
  /** word:the, letter:s, source:wiki, position:0-7. */
  readonly name: string;
  readonly kind: TaskKind;
  readonly train: Examples;
  readonly test: Examples;
}

export interface TaskOptions {
  readonly kinds: readonly TaskKind[];
  /** Tasks of each kind, at most. */
  readonly maxTasks: number;
  readonly contextSize: number;
  readonly seed: number;
  /** Tokens of each class, at most; {@link LARGEST_CLASS} where memory allows. */
  readonly largestClass: ClassSizes;
}

export interface ClassSizes {
  readonly train: number;
  readonly test: number;
}

/** Tokens of each class, at most: SAEBench trains a probe on 4,000 texts and tests it on 1,000, of all classes together. */
export const LARGEST_CLASS: ClassSizes = { train: 1000, test: 500 };
/** Tokens of each class, at least: with fewer a task says little and is left out. */
export const SMALLEST_CLASS: ClassSizes = { train: 40, test: 20 };
/** Occurrences of one word in a letter's tokens, at most, so that "the" does not stand for T. SAEBench takes each word of a vocabulary once. */
const WORD_OCCURRENCES = 10;

/** Tasks with how many were left out because they have too few tokens. */
export interface MadeTasks {
  readonly tasks: readonly Task[];
  /** Kinds of which no task could be made. */
  readonly empty: readonly TaskKind[];
}

/**
 * Binary tasks from the corpus itself, the most frequent classes first, balanced:
 * - word: the last token of an occurrence of a word, against last tokens of other words;
 * - letter: the first token of a word, by the word's first letter, against other letters;
 * - source: any token of the source's documents, against other sources (SAEBench averages over a text instead);
 * - position: any token whose place in its window is in a band 0-7, 8-15, 16-31, 32-63, …, against other places.
 */
export function makeTasks(tokens: ProbeTokens, options: TaskOptions): MadeTasks {
  const tasks = options.kinds.map((kind) => tasksOfKind(kind, tokens, options));
  return { tasks: tasks.flat(), empty: options.kinds.filter((_, at) => tasks[at]?.length === 0) };
}

/** Of each token its class. */
type Classes = Uint32Array;

function tasksOfKind(kind: TaskKind, tokens: ProbeTokens, options: TaskOptions): Task[] {
  const train = sideOf(kind, tokens.train, options, 1);
  const test = sideOf(kind, tokens.test, options, 2);
  const nameOf = classNames(kind, tokens, options.contextSize);
  const ranked = [...train.byClass].map(([id, list]) => ({ id, count: list.length })).sort((a, b) => b.count - a.count || a.id - b.id);
  const tasks: Task[] = [];
  for (const { id } of ranked) {
    if (tasks.length === options.maxTasks) break;
    const own = { train: examples(train, id, options.largestClass.train), test: examples(test, id, options.largestClass.test) };
    if (own.train.positive.length < SMALLEST_CLASS.train || own.test.positive.length < SMALLEST_CLASS.test) continue;
    tasks.push({ name: `${kind}:${nameOf(id)}`, kind, ...own });
    // The other of two classes is the same task with yes and no exchanged.
    if (ranked.length === 2) break;
  }
  return tasks;
}

interface Side {
  readonly classes: Classes;
  /** Candidates in the order in which they are drawn. */
  readonly order: Uint32Array;
  readonly byClass: ReadonlyMap<number, readonly number[]>;
}

function sideOf(kind: TaskKind, table: TokenTable, { seed }: TaskOptions, side: number): Side {
  const classes = classesOf(kind, table);
  const order = shuffled(classes, new Random(seed * 16 + TASK_KINDS.indexOf(kind) * 4 + side));
  const byClass = new Map<number, number[]>();
  const occurrences = new Map<number, number>();
  const kept = order.filter((token) => {
    if (kind !== "letter") return true;
    const word = table.startWord[token] ?? NONE;
    const seen = (occurrences.get(word) ?? 0) + 1;
    occurrences.set(word, seen);
    return seen <= WORD_OCCURRENCES;
  });
  for (const token of kept) {
    const id = classes[token] ?? NONE;
    const list = byClass.get(id);
    if (list === undefined) byClass.set(id, [token]);
    else list.push(token);
  }
  return { classes, order: kept, byClass };
}

function classesOf(kind: TaskKind, table: TokenTable): Classes {
  if (kind === "word") return Uint32Array.from(table.endWord);
  if (kind === "source") return Uint32Array.from(table.source);
  if (kind === "position") return Uint32Array.from(table.position, bandOf);
  const letters = table.lettersOfWords();
  return Uint32Array.from(table.startWord, (word) => (word === NONE ? NONE : (letters[word] ?? NONE)));
}

/** 0-7 is band 0, 8-15 band 1, 16-31 band 2, 32-63 band 3 and so on. */
function bandOf(position: number): number {
  return position < 8 ? 0 : 29 - Math.clz32(position);
}

function classNames(kind: TaskKind, { names }: ProbeTokens, contextSize: number): (id: number) => string {
  if (kind === "word") return (id) => names.words.names[id] ?? "";
  if (kind === "letter") return (id) => String.fromCharCode(97 + id);
  if (kind === "source") return (id) => names.sources.names[id] ?? "";
  return (id) => (id === 0 ? "0-7" : `${2 ** (id + 2)}-${Math.min(2 ** (id + 3), contextSize - 1) - 1}`);
}

/** The tokens that have a class, in an order that the generator decides. */
function shuffled(classes: Classes, random: Random): Uint32Array {
  const order = Uint32Array.from([...classes.keys()].filter((token) => classes[token] !== NONE));
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random.uniform(0, last + 1));
    const token = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = token;
  }
  return order;
}

/** As many tokens of a class as of all others, the first in the order. Tasks of a kind share their negatives where they can. */
function examples({ byClass, order, classes }: Side, id: number, most: number): Examples {
  const own = byClass.get(id) ?? [];
  const count = Math.min(most, own.length, order.length - own.length);
  const negative: number[] = [];
  for (const token of order) {
    if (negative.length === count) break;
    if (classes[token] !== id) negative.push(token);
  }
  return { positive: own.slice(0, count), negative };
}
