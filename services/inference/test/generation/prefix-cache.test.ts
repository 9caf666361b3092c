import { beforeEach, describe, expect, it } from "vitest";
import { type Prefix, PrefixCache } from "../../src/generation/prefix-cache.ts";

let freed: number[];
let cache: PrefixCache;
beforeEach(() => {
  freed = [];
  cache = new PrefixCache({
    cacheBytesOf: (tokens) => tokens * 10,
    free: async (slots) => void freed.push(...slots),
  });
});

/** 20 equal tokens, then these. */
const tokens = (...more: number[]): Uint32Array => Uint32Array.from([...Array.from({ length: 20 }, (_, i) => i), ...more]);

function keep(slot: number, kept: Uint32Array): Prefix {
  const prefix = cache.offer(slot, kept);
  if (prefix === undefined) throw new Error("the prefix was not taken");
  cache.keep(prefix, kept);
  return prefix;
}

describe("kept prefixes", () => {
  it("are found by the longest part in common, 16 tokens at least", () => {
    keep(1, tokens(50, 51));
    keep(2, tokens(60, 61, 62));
    expect(cache.find(tokens(60, 61, 99))?.slot).toBe(2);
    expect(cache.find(tokens(50))?.slot).toBe(1);
    expect(cache.find(tokens().slice(0, 15))).toBeUndefined();
    expect(cache.find(Uint32Array.from([9, ...tokens()]))).toBeUndefined();
    expect(cache.offer(3, tokens().slice(0, 15))).toBeUndefined();
  });

  it("of a generation under way can be shared, and cost nothing more", () => {
    const prefix = cache.offer(1, tokens());
    expect(cache.find(tokens(5))).toBe(prefix);
    expect([cache.bytes, cache.size, cache.evict()]).toEqual([0, 0, false]);
  });

  it("give way to one that covers them, and make way for none that they cover", () => {
    keep(1, tokens());
    keep(2, tokens(7, 8));
    expect([freed, cache.size, cache.bytes]).toEqual([[1], 1, 220]);
    keep(3, tokens(7));
    expect([freed, cache.size]).toEqual([[1, 3], 1]);
  });

  it("are given up in the order of their last use", () => {
    keep(1, tokens(1, 1));
    keep(2, tokens(2, 2));
    keep(3, tokens(3, 3));
    const used = cache.find(tokens(1, 1, 5)) as Prefix;
    cache.unpin(used);
    while (cache.evict());
    expect(freed).toEqual([2, 3, 1]);
    expect(cache.bytes).toBe(0);
  });

  it("are not freed while somebody copies from them", () => {
    const prefix = keep(1, tokens());
    cache.find(tokens());
    expect(cache.evict()).toBe(false);
    keep(2, tokens(4));
    expect([freed, cache.find(tokens(9))?.slot]).toEqual([[], 2]);
    cache.unpin(prefix);
    expect(freed).toEqual([1]);
  });
});
