import { u32View, type WireSparseCode } from "@mistral-sae/tensor";

/** Bytes of one activation. */
export function activationBytes(code: Pick<WireSparseCode, "activationDtype">): number {
  return code.activationDtype === 1 ? 4 : 2;
}

/** Pairs of one row. */
export function countPairs(code: WireSparseCode, row: number): number {
  if (code.rowOffsets === undefined) return code.k;
  const offsets = u32View(code.rowOffsets);
  return (offsets[row + 1] ?? 0) - (offsets[row] ?? 0);
}
