import { describe, expect, it } from "vitest";
import { BlockLayout } from "../../src/blocks/block-layout.ts";

describe("BlockLayout", () => {
  it("puts whole windows into blocks, so that window and token follow from a position", () => {
    const layout = new BlockLayout(100, 2_000);
    expect(layout.blockSequences).toBe(655);
    expect(layout.nBlocks).toBe(4);
    expect(layout.sequencesOf(3)).toEqual({ start: 1_965, end: 2_000 });
    expect(layout.sequenceAt(2, 54 * 100 + 99)).toBe(2 * 655 + 54);
    expect(layout.tokenAt(54 * 100 + 99)).toBe(99);
  });

  it("refuses windows that no block can hold", () => {
    for (const context of [0, 1, 65_537, 3.5]) expect(() => new BlockLayout(context, 1)).toThrow("cannot be indexed");
  });
});
