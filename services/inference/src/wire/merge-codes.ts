import type { EncodedBatch } from "@mistral-sae/model";
import { type ActivationDType, packSparse, type SparseRows, u32View, unpackSparse, type WireSparseCode } from "@mistral-sae/tensor";

const NAMES: Readonly<Record<number, ActivationDType>> = { 1: "F32", 2: "F16", 3: "BF16" };

/**
 * The codes of sequences that ran in other order, as one code in the order of the sequences.
 *
 * @param lengths rows of each sequence.
 */
export function mergeCodes(batches: readonly EncodedBatch[], lengths: readonly number[]): WireSparseCode {
  const codes = agreed(batches.map(({ code }) => code));
  const first = codes[0] as WireSparseCode;
  const starts = new Uint32Array(lengths.length + 1);
  for (const [i, length] of lengths.entries()) starts[i + 1] = (starts[i] as number) + length;
  const rows = starts[lengths.length] as number;

  // Pairs before each row of the result.
  const offsets = new Uint32Array(rows + 1);
  for (const [b, batch] of batches.entries()) {
    const pairsBefore = pairOffsets(codes[b] as WireSparseCode);
    eachSequence(batch, (sequence, from, to) => {
      let at = (starts[sequence] as number) + 1;
      for (let row = from; row < to; row++) offsets[at++] = pairsBefore(row + 1) - pairsBefore(row);
    });
  }
  for (let row = 0; row < rows; row++) offsets[row + 1] = (offsets[row + 1] as number) + (offsets[row] as number);

  const pairs = offsets[rows] as number;
  const width = first.activationDtype === 1 ? 4 : 2;
  const featureIndices = new Uint8Array(pairs * 4);
  const activations = new Uint8Array(pairs * width);
  for (const [b, batch] of batches.entries()) {
    const code = codes[b] as WireSparseCode;
    const pairsBefore = pairOffsets(code);
    eachSequence(batch, (sequence, from, to) => {
      const target = offsets[starts[sequence] as number] as number;
      const [begin, end] = [pairsBefore(from), pairsBefore(to)];
      featureIndices.set(code.featureIndices.subarray(begin * 4, end * 4), target * 4);
      activations.set(code.activations.subarray(begin * width, end * width), target * width);
    });
  }
  const even = codes.every(({ rowOffsets }) => rowOffsets === undefined);
  return {
    nTokens: rows,
    k: first.k,
    dSae: first.dSae,
    featureIndices,
    activations,
    activationDtype: first.activationDtype,
    ...(even ? {} : { rowOffsets: new Uint8Array(offsets.buffer) }),
  };
}

function eachSequence({ sequences, offsets }: EncodedBatch, visit: (sequence: number, from: number, to: number) => void): void {
  for (const [i, sequence] of sequences.entries()) visit(sequence, offsets[i] ?? 0, offsets[i + 1] ?? 0);
}

/** Pairs before each row of a code. */
function pairOffsets({ rowOffsets, k }: WireSparseCode): (row: number) => number {
  if (rowOffsets === undefined) return (row) => row * k;
  const offsets = u32View(rowOffsets);
  return (row) => offsets[row] ?? 0;
}

/** Codes with one element type: a batch whose values needed F32 takes the others with it. */
function agreed(codes: readonly WireSparseCode[]): readonly WireSparseCode[] {
  const types = new Set(codes.map(({ activationDtype }) => activationDtype));
  if (types.size <= 1) return codes;
  return codes.map((code) => (NAMES[code.activationDtype] === "F32" ? code : packSparse(unpackSparse(code), "F32")));
}

/** Rows of several codes, one after another, as one. */
export function concatCodes(codes: readonly WireSparseCode[], dtype: ActivationDType): WireSparseCode {
  const [only] = codes;
  if (codes.length === 1 && only !== undefined) return only;
  const parts = codes.map(unpackSparse);
  const rows = parts.reduce((n, { nTokens }) => n + nTokens, 0);
  const pairs = parts.reduce((n, { values }) => n + values.length, 0);
  const merged = {
    nTokens: rows,
    k: parts[0]?.k ?? 0,
    dSae: parts[0]?.dSae ?? 0,
    indices: new Uint32Array(pairs),
    values: new Float32Array(pairs),
    rowOffsets: new Uint32Array(rows + 1),
  } satisfies SparseRows;
  let row = 0;
  let at = 0;
  for (const part of parts) {
    merged.indices.set(part.indices, at);
    merged.values.set(part.values, at);
    for (let i = 1; i <= part.nTokens; i++) merged.rowOffsets[row + i] = at + (part.rowOffsets?.[i] ?? i * part.k);
    row += part.nTokens;
    at += part.values.length;
  }
  return packSparse(merged, dtype);
}
