import { topK, type SparseRows } from "@mistral-sae/tensor";
import type { CanonicalSae } from "./canonical.ts";

/**
 * Codes of rows that each hold k pairs, descending: zeros are dropped, and the offsets then say how many a row keeps.
 * Without a zero the arrays are used as they are.
 */
export function codesOfTopK(values: Float32Array, indices: Int32Array, nTokens: number, k: number, dSae: number): SparseRows {
  const features = new Uint32Array(indices.buffer, indices.byteOffset, indices.length);
  let active = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! > 0) active++;
  if (active === values.length) return { nTokens, k, dSae, indices: features, values };
  const rowOffsets = new Uint32Array(nTokens + 1);
  const keptIndices = new Uint32Array(active);
  const keptValues = new Float32Array(active);
  let to = 0;
  for (let row = 0, from = 0; row < nTokens; row++) {
    for (const end = from + k; from < end; from++) {
      const value = values[from]!;
      if (value > 0) {
        keptValues[to] = value;
        keptIndices[to++] = features[from]!;
      }
    }
    rowOffsets[row + 1] = to;
  }
  return { nTokens, k, dSae, indices: keptIndices, values: keptValues, rowOffsets };
}

/**
 * Codes of dense pre-activations [n, dSae]: relu, or relu where pre > threshold (strict), descending, at most `most` a
 * row (0: all). `pre` is overwritten.
 */
export function codesOfDense(pre: Float32Array, nTokens: number, sae: Pick<CanonicalSae, "dSae" | "threshold">, most: number): SparseRows {
  const { dSae, threshold } = sae;
  const limit = most === 0 ? dSae : Math.min(most, dSae);
  const rowOffsets = new Uint32Array(nTokens + 1);
  const parts: { indices: Uint32Array; values: Float32Array }[] = [];
  let total = 0;
  for (let row = 0; row < nTokens; row++) {
    const line = pre.subarray(row * dSae, (row + 1) * dSae);
    let active = 0;
    for (let f = 0; f < dSae; f++) {
      const value = line[f]!;
      if (value > 0 && (threshold === undefined || value > threshold[f]!)) active++;
      else line[f] = Number.NaN;
    }
    const count = Math.min(active, limit);
    const part = { indices: new Uint32Array(count), values: new Float32Array(count) };
    total += topK(line, count, part.indices, part.values);
    parts.push(part);
    rowOffsets[row + 1] = total;
  }
  const indices = new Uint32Array(total);
  const values = new Float32Array(total);
  for (const [row, part] of parts.entries()) {
    indices.set(part.indices, rowOffsets[row]);
    values.set(part.values, rowOffsets[row]);
  }
  return { nTokens, k: 0, dSae, indices, values, rowOffsets };
}

/** Codes of several runs of rows as one. */
export function joinCodes(parts: readonly SparseRows[]): SparseRows {
  const [first] = parts;
  if (first === undefined) throw new RangeError("no codes to join");
  if (parts.length === 1) return first;
  const nTokens = parts.reduce((sum, part) => sum + part.nTokens, 0);
  const pairs = parts.reduce((sum, part) => sum + part.values.length, 0);
  const indices = new Uint32Array(pairs);
  const values = new Float32Array(pairs);
  const ragged = parts.some((part) => part.rowOffsets !== undefined);
  const rowOffsets = ragged ? new Uint32Array(nTokens + 1) : undefined;
  let row = 0;
  let pair = 0;
  for (const part of parts) {
    indices.set(part.indices, pair);
    values.set(part.values, pair);
    if (rowOffsets !== undefined) for (let i = 1; i <= part.nTokens; i++) rowOffsets[row + i] = pair + (part.rowOffsets?.[i] ?? i * part.k);
    row += part.nTokens;
    pair += part.values.length;
  }
  return { nTokens, k: first.k, dSae: first.dSae, indices, values, ...(rowOffsets === undefined ? {} : { rowOffsets }) };
}

/** Rows [start, end) of codes; views where the rows are even. */
export function sliceCodes(code: SparseRows, start: number, end: number): SparseRows {
  const { k, dSae, rowOffsets } = code;
  const [from, to] = rowOffsets === undefined ? [start * k, end * k] : [rowOffsets[start]!, rowOffsets[end]!];
  const part = { nTokens: end - start, k, dSae, indices: code.indices.subarray(from, to), values: code.values.subarray(from, to) };
  return rowOffsets === undefined ? part : { ...part, rowOffsets: rowOffsets.slice(start, end + 1).map((offset) => offset - from) };
}
