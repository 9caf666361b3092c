import { packSparse, type SparseRows, unpackSparse } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { concatCodes, mergeCodes } from "../../src/wire/merge-codes.ts";

/** Rows with given pairs (feature, value). */
function rows(pairs: readonly (readonly (readonly [number, number])[])[], k: number): SparseRows {
  const flat = pairs.flat();
  const offsets = new Uint32Array(pairs.length + 1);
  for (const [i, row] of pairs.entries()) offsets[i + 1] = (offsets[i] ?? 0) + row.length;
  return { nTokens: pairs.length, k, dSae: 100, indices: Uint32Array.from(flat, ([f]) => f), values: Float32Array.from(flat, ([, v]) => v), rowOffsets: offsets };
}
const batch = (sequences: number[], offsets: number[], code: SparseRows, dtype: "F16" | "F32" = "F32") => ({
  sequences: Uint32Array.from(sequences),
  offsets: Uint32Array.from(offsets),
  proofs: [],
  code: packSparse(code, dtype),
});

describe("codes of sequences that ran in another order", () => {
  it("come back in the order of the sequences", () => {
    const merged = mergeCodes(
      [
        batch([2, 0], [0, 2, 3], rows([[[20, 1], [21, 2]], [[22, 3], [23, 4]], [[0, 5], [1, 6]]], 2)),
        batch([1], [0, 1], rows([[[10, 7], [11, 8]]], 2)),
      ],
      [1, 1, 2],
    );
    expect(merged.rowOffsets).toBeUndefined();
    expect([...unpackSparse(merged).indices]).toEqual([0, 1, 10, 11, 20, 21, 22, 23]);
    expect([...unpackSparse(merged).values]).toEqual([5, 6, 7, 8, 1, 2, 3, 4]);
  });

  it("keep rows of different length apart", () => {
    const merged = unpackSparse(mergeCodes([batch([1, 0], [0, 2, 3], rows([[], [[5, 1]], [[6, 2], [7, 3]]], 2))], [1, 2]));
    expect([...(merged.rowOffsets ?? [])]).toEqual([0, 2, 2, 3]);
    expect([...merged.indices]).toEqual([6, 7, 5]);
  });

  it("take the wider element type when one batch needed it", () => {
    const merged = mergeCodes([batch([0], [0, 1], rows([[[1, 1]]], 1), "F16"), batch([1], [0, 1], rows([[[2, 1e6]]], 1), "F16")], [1, 1]);
    expect(merged.activationDtype).toBe(1);
    expect([...unpackSparse(merged).values]).toEqual([1, 1e6]);
  });
});

describe("codes of runs of rows", () => {
  it("are joined one after another", () => {
    const joined = concatCodes([packSparse(rows([[[1, 1], [2, 2]]], 2)), packSparse(rows([[[3, 3]], []], 2))], "F32");
    const { rowOffsets, indices, nTokens } = unpackSparse(joined);
    expect([nTokens, [...(rowOffsets ?? [])], [...indices]]).toEqual([3, [0, 2, 3, 3], [1, 2, 3]]);
  });
});
