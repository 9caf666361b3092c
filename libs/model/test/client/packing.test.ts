import { describe, expect, it } from "vitest";
import { editCompactor, packByLength, packSequences } from "../../src/client/packing.ts";
import type { Edit } from "../../src/edits/edit.ts";

describe("packByLength", () => {
  it("fills batches with sequences of like length, each once", () => {
    const lengths = Uint32Array.from({ length: 100 }, (_, i) => 1 + ((i * 53) % 97));
    const batches = packByLength(lengths, 256);
    expect(batches.flatMap((batch) => [...batch]).toSorted((a, b) => a - b)).toEqual([...lengths.keys()]);
    for (const batch of batches) {
      const longest = Math.max(...[...batch].map((i) => lengths[i]!));
      expect(batch.length === 1 || batch.length * longest <= 256).toBe(true);
    }
    const padded = batches.reduce((sum, batch) => sum + batch.length * Math.max(...[...batch].map((i) => lengths[i]!)), 0);
    expect(padded / lengths.reduce((a, b) => a + b, 0)).toBeLessThan(1.1);
  });

  it("runs a sequence that is too long for a batch alone, and gives nothing for nothing", () => {
    expect(packByLength(Uint32Array.of(3, 500, 4), 100)).toEqual([Uint32Array.of(1), Uint32Array.of(2, 0)]);
    expect(packByLength(new Uint32Array(), 100)).toEqual([]);
  });
});

describe("packSequences", () => {
  it("copies tokens in the order of the batch", () => {
    const packed = packSequences([{ tokens: Uint32Array.of(1, 2) }, { tokens: Uint32Array.of(3) }], Uint32Array.of(1, 0));
    expect(packed).toEqual({ tokens: Uint32Array.of(3, 1, 2), offsets: Uint32Array.of(0, 1, 3) });
  });
});

describe("editCompactor", () => {
  const direction = new Float32Array(1000).subarray(10, 20);
  const edits: Edit[] = [{ id: "a", hook: "blocks.0.hook_resid_pre", method: "ablate", direction }];

  it("copies views so that what is around them stays behind, and shares what is shared", () => {
    const compact = editCompactor();
    const [first, second] = [compact(edits), compact(edits)];
    expect(first).toBe(second);
    const [edit] = first!;
    expect(edit).toEqual(edits[0]);
    expect("direction" in edit! && edit.direction instanceof Float32Array && edit.direction.buffer.byteLength).toBe(40);
    expect(compact([])).toBeUndefined();
    expect(compact(undefined)).toBeUndefined();
  });
});
