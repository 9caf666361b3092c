import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { inFlight } from "../../src/peer/in-flight.ts";

async function* numbers(count: number): AsyncIterable<number> {
  for (let value = 0; value < count; value += 1) yield value;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe("inFlight", () => {
  it("keeps the order and never exceeds the limit", async () => {
    let open = 0;
    let most = 0;
    const work = async (value: number): Promise<number> => {
      open += 1;
      most = Math.max(most, open);
      await sleep((value * 7) % 5);
      open -= 1;
      return value * 2;
    };
    expect(await collect(inFlight(numbers(20), 3, work))).toEqual(Array.from({ length: 20 }, (_, value) => value * 2));
    expect(most).toBe(3);
  });

  it("throws the first error after what came before it", async () => {
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      for await (const value of inFlight(numbers(9), 2, async (value) => (value === 4 ? Promise.reject(new Error("broke")) : value))) seen.push(value);
    };
    await expect(run()).rejects.toThrow("broke");
    expect(seen).toEqual([0, 1, 2, 3]);
  });

  it("stops reading when its reader stops", async () => {
    let read = 0;
    async function* counted(): AsyncIterable<number> {
      for (;;) yield (read += 1);
    }
    for await (const value of inFlight(counted(), 2, async (value) => await Promise.resolve(value))) if (value === 3) break;
    expect(read).toBeLessThan(7);
  });
});
