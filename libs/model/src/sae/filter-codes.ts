import { rowBounds, type SparseRows } from "@mistral-sae/tensor";

/** The pairs of some features only; rows keep their order. */
export function filterCodes(code: SparseRows, features: ReadonlySet<number>): SparseRows {
  const rowOffsets = new Uint32Array(code.nTokens + 1);
  const indices: number[] = [];
  const values: number[] = [];
  for (let row = 0; row < code.nTokens; row++) {
    const [start, end] = rowBounds(code, row);
    for (let pair = start; pair < end; pair++) {
      if (!features.has(code.indices[pair]!)) continue;
      indices.push(code.indices[pair]!);
      values.push(code.values[pair]!);
    }
    rowOffsets[row + 1] = indices.length;
  }
  return { nTokens: code.nTokens, k: code.k, dSae: code.dSae, indices: Uint32Array.from(indices), values: Float32Array.from(values), rowOffsets };
}
