import { describe, expect, it } from "vitest";
import { windowsOfDocument } from "../../src/harvest/token-windows.ts";
import { LARGEST_CLASS, makeTasks, TASK_KINDS, type TaskOptions } from "../../src/probe/tasks.ts";
import { ProbeNames, TokenTable } from "../../src/probe/token-table.ts";
import type { ProbeTokens } from "../../src/probe/read-tokens.ts";

const WORDS = ["the", "cat", "sees", "a", "small", "dog", "near", "that", "house", "today"];
const options: TaskOptions = { kinds: TASK_KINDS, maxTasks: 26, contextSize: 64, seed: 3, largestClass: LARGEST_CLASS };

function tokensOf(documents: number, sources: readonly string[] = ["wiki", "web", "books"]): ProbeTokens {
  const names = new ProbeNames();
  const [train, test] = [new TokenTable(names), new TokenTable(names)];
  for (const [table, count] of [[train, documents], [test, Math.ceil(documents / 4)]] as const) {
    for (let document = 0; document < count; document += 1) {
      const strTokens = Array.from({ length: 100 }, (_, at) => ` ${WORDS[(at * 7 + document) % WORDS.length]}`);
      const windows = windowsOfDocument(document, { ids: Uint32Array.from(strTokens.keys()), special: undefined }, { contextSize: 64, bosTokenId: 1 });
      table.addDocument(windows, strTokens, sources[document % sources.length] ?? "", Infinity);
    }
  }
  return { train, test, names };
}

describe("makeTasks", () => {
  const tokens = tokensOf(30);
  const { tasks, empty } = makeTasks(tokens, options);

  it("makes balanced tasks of every kind, each class against the others", () => {
    expect(empty).toEqual(["letter"]);
    const names = tasks.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["word:the", "word:today", "source:wiki", "source:web", "source:books", "position:0-7", "position:32-62"]));
    for (const { name, train, test } of tasks) {
      expect([name, train.negative.length, test.negative.length]).toEqual([name, train.positive.length, test.positive.length]);
      expect(new Set([...train.positive, ...train.negative]).size).toBe(2 * train.positive.length);
    }
  });

  it("labels tokens by what they are", () => {
    const wordOf = (token: number): string | undefined => tokens.names.words.names[tokens.train.endWord[token] ?? 0];
    const dog = tasks.find(({ name }) => name === "word:dog");
    expect(new Set(dog?.train.positive.map(wordOf))).toEqual(new Set(["dog"]));
    expect(dog?.train.negative.map(wordOf)).not.toContain("dog");
    const band = tasks.find(({ name }) => name === "position:16-31");
    expect(band?.train.positive.every((token) => (tokens.train.position[token] ?? 0) >= 16 && (tokens.train.position[token] ?? 0) <= 31)).toBe(true);
    expect(band?.train.negative.some((token) => (tokens.train.position[token] ?? 0) >= 16 && (tokens.train.position[token] ?? 0) <= 31)).toBe(false);
  });

  it("keeps one frequent word from standing for its letter", () => {
    // Ten occurrences of each word: too few of any letter for a task.
    expect(tasks.filter(({ kind }) => kind === "letter")).toEqual([]);
    const letters = makeTasks(tokensOf(30), { ...options, kinds: ["letter"] });
    expect(letters.empty).toEqual(["letter"]);
  });

  it("is the same for the same seed and another one for another", () => {
    expect(makeTasks(tokens, options)).toEqual({ tasks, empty });
    expect(makeTasks(tokens, { ...options, seed: 4 }).tasks[0]?.train.negative).not.toEqual(tasks[0]?.train.negative);
  });

  it("makes one task of two classes, and as many as asked for of more", () => {
    expect(makeTasks(tokens, { ...options, kinds: ["word"], maxTasks: 4 }).tasks).toHaveLength(4);
    const [one, ...more] = makeTasks(tokensOf(30, ["wiki", "web"]), { ...options, kinds: ["source"] }).tasks;
    expect([one?.name, more]).toEqual(["source:wiki", []]);
  });

  it("gives classes no more tokens than asked for", () => {
    const small = makeTasks(tokens, { ...options, largestClass: { train: 50, test: 25 } }).tasks;
    expect(Math.max(...small.map(({ train }) => train.positive.length))).toBe(50);
    expect(Math.max(...small.map(({ test }) => test.positive.length))).toBe(25);
  });
});
