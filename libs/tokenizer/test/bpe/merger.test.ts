import { describe, expect, it } from "vitest";
import { Merger } from "../../src/bpe/merger.ts";
import { PairTableBuilder } from "../../src/bpe/pair-table.ts";

/** Merges of a vocabulary over `symbols` letters, drawn from a fixed sequence: rank by rank two tokens that exist. */
function draw(symbols: number, merges: number): { left: number; right: number; merged: number }[] {
  let state = 12345;
  const below = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  return Array.from({ length: merges }, (_, rank) => ({ left: below(symbols + rank), right: below(symbols + rank), merged: symbols + rank }));
}

/** The definition: the pair of lowest rank, the leftmost of equals, until there is none. */
function naive(word: readonly number[], merges: readonly { left: number; right: number; merged: number }[]): number[] {
  const rankOf = new Map(merges.map(({ left, right }, rank) => [`${left},${right}`, rank]));
  const ids = [...word];
  for (;;) {
    let best: { rank: number; at: number } | undefined;
    for (let at = 0; at + 1 < ids.length; at++) {
      const rank = rankOf.get(`${ids[at]},${ids[at + 1]}`);
      if (rank !== undefined && (best === undefined || rank < best.rank)) best = { rank, at };
    }
    if (best === undefined) return ids;
    ids.splice(best.at, 2, merges[best.rank]?.merged ?? -1);
  }
}

describe("merging a word", () => {
  const merges = draw(4, 60);
  const builder = new PairTableBuilder();
  for (const [rank, { left, right, merged }] of merges.entries()) builder.add(left, right, rank, merged);
  const merger = new Merger(builder.build());

  it.each([1, 2, 7, 64, 65, 200, 1500])("of %i symbols follows the definition", (length) => {
    for (let n = 0; n < 20; n++) {
      const word = Array.from({ length }, (_, i) => (Math.imul(i + 1, 2654435761 + 97 * n) >>> 13) % 4);
      merger.reserve(length);
      merger.ids.set(word);
      const count = merger.merge(length);
      expect([...merger.ids.subarray(0, count)]).toEqual(naive(word, merges));
      expect(merger.sizes.subarray(0, count).reduce((sum, size) => sum + size, 0)).toBe(length);
    }
  });

  it("leaves symbols that no merge knows", () => {
    merger.ids.set([-1, -1, 0]);
    expect(merger.merge(3)).toBe(3);
  });

  it("takes a word of a million equal symbols", () => {
    const chain = new PairTableBuilder();
    for (let id = 0; id < 10; id++) chain.add(id, id, id, id + 1);
    const long = new Merger(chain.build());
    long.reserve(1 << 20);
    long.ids.fill(0, 0, 1 << 20);
    expect(long.merge(1 << 20)).toBe(1 << 10);
    expect(long.sizes[0]).toBe(1 << 10);
  });
});
