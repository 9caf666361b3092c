import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { describe, expect, test } from "vitest";
import { InputError, packSparse, rowBounds, type SparseRows, unpackSparse, WIRE_DTYPE } from "../src/index.ts";

const ragged: SparseRows = {
  nTokens: 3,
  k: 2,
  dSae: 100,
  indices: Uint32Array.of(7, 3, 99),
  values: Float32Array.of(2, 1.5, 0.25),
  rowOffsets: Uint32Array.of(0, 2, 2, 3),
};

describe("packed sparse codes", () => {
  test("number the element types as the contract does", () => {
    for (const [name, number] of Object.entries(WIRE_DTYPE)) expect(DataType[name as keyof typeof WIRE_DTYPE]).toBe(number);
  });

  test("come back from the wire in every activation type", () => {
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      const wire = packSparse(ragged, dtype);
      expect(wire.activationDtype).toBe(WIRE_DTYPE[dtype]);
      const rows = unpackSparse(wire);
      expect(rows).toEqual(ragged);
      expect([0, 1, 2].map((row) => rowBounds(rows, row))).toEqual([[0, 2], [2, 2], [2, 3]]);
    }
  });

  test("are views of the message's bytes where these are aligned and copies where not", () => {
    const wire = packSparse(ragged);
    expect(unpackSparse(wire).indices.buffer).toBe(ragged.indices.buffer);
    const bytes = new Uint8Array(13);
    bytes.set(wire.featureIndices, 1);
    expect(unpackSparse({ ...wire, featureIndices: bytes.subarray(1) }).indices).toEqual(ragged.indices);
  });

  test("leave the row offsets out when every row has k pairs", () => {
    const even: SparseRows = { nTokens: 2, k: 1, dSae: 5, indices: Uint32Array.of(4, 0), values: Float32Array.of(1, 2), rowOffsets: Uint32Array.of(0, 1, 2) };
    const wire = packSparse(even);
    expect(wire.rowOffsets).toBeUndefined();
    expect(rowBounds(unpackSparse(wire), 1)).toEqual([1, 2]);
  });

  test("fall back to F32 where F16 would overflow or vanish", () => {
    for (const value of [70_000, 1e-9]) {
      const wire = packSparse({ nTokens: 1, k: 1, dSae: 2, indices: Uint32Array.of(0), values: Float32Array.of(value) }, "F16");
      expect(wire.activationDtype).toBe(WIRE_DTYPE.F32);
      expect(unpackSparse(wire).values[0]).toBe(Math.fround(value));
    }
  });

  test("are refused with the field's name when their parts contradict one another", () => {
    const wire = packSparse(ragged);
    const cases: [string, object][] = [
      ["activation_dtype", { activationDtype: 5 }],
      ["row_offsets", { rowOffsets: new Uint8Array(8) }],
      ["row_offsets[0]", { rowOffsets: new Uint8Array(Uint32Array.of(1, 2, 2, 3).buffer) }],
      ["row_offsets[2]", { rowOffsets: new Uint8Array(Uint32Array.of(0, 2, 1, 3).buffer) }],
      ["feature_indices", { featureIndices: new Uint8Array(8) }],
      ["activations", { activations: new Uint8Array(11) }],
      ["feature_indices[2]", { dSae: 99 }],
    ];
    for (const [field, change] of cases) {
      expect(() => unpackSparse({ ...wire, ...change })).toThrow(expect.objectContaining({ field, name: InputError.name }));
    }
  });
});
