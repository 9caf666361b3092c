import { describe, expect, it } from "vitest";
import { uniform } from "../../src/sampling/philox.ts";

/** The number that the first two words of a block make. */
function ofWords(first: number, second: number): number {
  return ((first >>> 5) * 2 ** 26 + (second >>> 6)) * 2 ** -53;
}

describe("uniform", () => {
  it("is Philox4x32-10, by the known answers of its authors", () => {
    // kat_vectors of Random123: counter 0, key 0.
    expect(uniform(0n, 0)).toBe(ofWords(0x6627e8d5, 0xe169c58d));
  });

  it("depends on every bit of seed and counter", () => {
    const numbers = new Set<number>();
    for (let bit = 0; bit < 64; bit++) numbers.add(uniform(1n << BigInt(bit), 0));
    for (let bit = 0; bit < 52; bit++) numbers.add(uniform(0n, 2 ** bit));
    expect(numbers.size).toBe(116);
  });

  it("fills [0, 1) evenly", () => {
    const bins = new Uint32Array(16);
    for (let i = 0; i < 16_000; i++) {
      const bin = Math.floor(uniform(42n, i) * 16);
      bins[bin] = bins[bin]! + 1;
    }
    const chiSquare = bins.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0);
    expect(chiSquare).toBeLessThan(37.7);
  });
});
