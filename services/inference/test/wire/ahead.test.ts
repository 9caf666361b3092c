import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { ahead, inOrder } from "../../src/wire/ahead.ts";

async function* count(n: number, seen: number[] = []): AsyncGenerator<number> {
  for (let i = 0; i < n; i++) {
    seen.push(i);
    yield i;
  }
}

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

describe("reading ahead", () => {
  it("gives every item in order and no more than it may beforehand", async () => {
    expect(await all(ahead(count(20), 3))).toEqual(Array.from({ length: 20 }, (_, i) => i));
    const seen: number[] = [];
    const iterator = ahead(count(20, seen), 1)[Symbol.asyncIterator]();
    await iterator.next();
    await sleep(5);
    expect(seen.length).toBeLessThanOrEqual(3);
    await iterator.return(undefined);
  });

  it("passes on an error when its turn comes", async () => {
    const source = async function* () {
      yield 1;
      throw new Error("broken");
    };
    const iterator = ahead(source(), 2)[Symbol.asyncIterator]();
    expect((await iterator.next()).value).toBe(1);
    await expect(iterator.next()).rejects.toThrow("broken");
  });
});

describe("working in order", () => {
  it("answers in the order of the items, whichever is done first", async () => {
    const slowFirst = async (i: number) => {
      await sleep(i % 3 === 0 ? 8 : 1);
      return i * 10;
    };
    expect(await all(inOrder(count(9), 3, slowFirst))).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80]);
  });

  it("never has more at work than it may", async () => {
    let open = 0;
    let most = 0;
    const work = async (i: number) => {
      most = Math.max(most, ++open);
      await sleep(2);
      open--;
      return i;
    };
    await all(inOrder(count(12), 3, work));
    expect(most).toBe(3);
  });

  it("answers what is done although the source waits for the answer", async () => {
    let answer: (() => void) | undefined;
    const source = async function* () {
      yield 1;
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      yield 2;
    };
    const read: number[] = [];
    for await (const item of inOrder(source(), 3, async (i) => i)) {
      read.push(item);
      answer?.();
    }
    expect(read).toEqual([1, 2]);
  });

  it("ends with the first error, of the source or of the work", async () => {
    const failing = async (i: number) => {
      if (i === 2) throw new Error("third");
      return i;
    };
    await expect(all(inOrder(count(5), 2, failing))).rejects.toThrow("third");
    const broken = async function* () {
      yield 0;
      throw new Error("source");
    };
    await expect(all(inOrder(broken(), 2, async (i) => i))).rejects.toThrow("source");
  });
});
