import { type ActivationDType, bf16Bits, packSparse, type SparseRows } from "@mistral-sae/tensor";
import { describe, expect, it } from "vitest";
import { type BlockCode, blockCode } from "../../src/blocks/block-code.ts";
import { BlockSorter, specialMask } from "../../src/blocks/block-sorter.ts";
import { noise } from "../fixtures/toy-inference.ts";

const D_SAE = 50;
const CONTEXT = 10;

/** Codes of windows of these lengths; a token fires up to 5 features. */
function codesOf(lengths: readonly number[]): { rows: SparseRows; pairs: { feature: number; pos: number; value: number }[] } {
  const pairs: { feature: number; pos: number; value: number }[] = [];
  const offsets = [0];
  for (const [window, length] of lengths.entries()) {
    for (let token = 0; token < length; token++) {
      const features = new Set(Array.from({ length: Math.floor(6 * noise(window, token)) }, (_, i) => Math.floor(D_SAE * noise(window, token, i))));
      for (const feature of features) pairs.push({ feature, pos: window * CONTEXT + token, value: 2 ** Math.floor(8 * noise(feature, window)) });
      offsets.push(pairs.length);
    }
  }
  const rows = { nTokens: offsets.length - 1, k: 5, dSae: D_SAE, indices: Uint32Array.from(pairs, ({ feature }) => feature), values: Float32Array.from(pairs, ({ value }) => value), rowOffsets: Uint32Array.from(offsets) };
  return { rows, pairs };
}

/** Some rows of a code as a code of their own. */
function slice({ rows }: { rows: SparseRows }, start: number, end: number): SparseRows {
  const offsets = rows.rowOffsets as Uint32Array;
  const from = offsets[start] as number;
  const to = offsets[end] as number;
  return { ...rows, nTokens: end - start, indices: rows.indices.slice(from, to), values: rows.values.slice(from, to), rowOffsets: offsets.slice(start, end + 1).map((offset) => offset - from) };
}

function pack(rows: SparseRows, dtype: ActivationDType): BlockCode {
  return blockCode(packSparse(rows, dtype));
}

describe("BlockSorter", () => {
  const lengths = [10, 3, 10, 1, 7];
  const shape = { contextSize: CONTEXT, lengths: Uint32Array.from(lengths), special: specialMask(CONTEXT, [[0], [0], [0, 4], [0], [0]]) };

  it.each(["F32", "F16", "BF16"] as const)("groups every pair by feature, special tokens apart, whatever chunks of %s it comes in", (dtype) => {
    const codes = codesOf(lengths);
    const n = codes.rows.nTokens;
    const chunks = [slice(codes, 0, 12), slice(codes, 12, 13), slice(codes, 13, n)].map((rows) => pack(rows, dtype));
    const sorter = new BlockSorter(D_SAE);
    sorter.sort(shape, [pack(codes.rows, "F32")]);
    const sorted = sorter.sort(shape, chunks);
    const found: { feature: number; pos: number; value: number; special: number }[] = [];
    let start = 0;
    for (const [segment, feature] of sorted.features.entries()) {
      const end = sorted.ends[segment] as number;
      expect(sorted.n[segment]).toBe(end - start);
      const values = Array.from(sorted.acts.subarray(start, end), (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0] as number);
      expect(sorted.maxActivation[segment]).toBe(Math.max(...values));
      for (let i = start; i < end; i++) found.push({ feature, pos: sorted.pos[i] as number, value: values[i - start] as number, special: sorted.special[segment] as number });
      start = end;
    }
    const wanted = codes.pairs
      .map((pair) => ({ ...pair, special: Number([0, 10, 20, 24, 30, 40].includes(pair.pos)) }))
      .sort((a, b) => a.special - b.special || a.feature - b.feature || a.pos - b.pos);
    expect(found).toEqual(wanted);
    expect(sorted.nSpecial).toBe(wanted.filter(({ special }) => special === 1).length);
  });

  it("reads codes of a fixed number of features a token", () => {
    const rows: SparseRows = { nTokens: 2, k: 2, dSae: D_SAE, indices: Uint32Array.of(7, 1, 7, 2), values: Float32Array.of(4, 3, 2, 1) };
    const sorted = new BlockSorter(D_SAE).sort({ contextSize: CONTEXT, lengths: Uint32Array.of(2), special: specialMask(CONTEXT, []) }, [pack(rows, "BF16")]);
    expect([...sorted.features]).toEqual([1, 2, 7]);
    expect([...sorted.pos]).toEqual([0, 1, 0, 1]);
  });

  it("refuses codes that do not match the block, activations that are no positive numbers, and a feature that comes twice", () => {
    const sorter = new BlockSorter(D_SAE);
    const { rows } = codesOf(lengths);
    expect(() => sorter.sort(shape, [pack(slice({ rows }, 0, 30), "F32")])).toThrow("got 30, wanted 31");
    expect(() => sorter.sort({ ...shape, lengths: Uint32Array.of(10, 3) }, [pack(rows, "F32")])).toThrow("got 31, wanted 13");
    expect(() => sorter.sort(shape, [{ ...pack(rows, "F32"), dSae: 51 }])).toThrow("a code of another SAE");
    const bad = (value: number) => ({ ...rows, values: rows.values.map((old, i) => (i === 3 ? value : old)) });
    const at = rows.rowOffsets?.findIndex((offset, i) => (rows.rowOffsets?.[i + 1] ?? 0) > offset + 1) ?? 0;
    const twice = { ...rows, indices: rows.indices.map((old, i) => (i === (rows.rowOffsets?.[at] ?? 0) + 1 ? (rows.indices[i - 1] as number) : old)) };
    expect(() => sorter.sort(shape, [pack(twice, "F32")])).toThrow("comes twice");
    for (const value of [0, -1, Infinity, Number.NaN]) expect(() => sorter.sort(shape, [pack(bad(value), "F32")])).toThrow("no positive number");
  });

  it("keeps unrounded activations in the order of the rounded ones where it is given them", () => {
    const { rows } = codesOf(lengths);
    const values = rows.values.map((value, i) => value + i / 1_000);
    const sorted = new BlockSorter(D_SAE).sort(shape, [blockCode(packSparse({ ...rows, values }, "F32"), true)]);
    expect(Array.from(sorted.actsF32 ?? [], (value) => bf16Bits(value))).toEqual([...sorted.acts]);
    expect([...(sorted.actsF32 ?? [])].toSorted((a, b) => a - b)).toEqual([...values].toSorted((a, b) => a - b));
  });
});
