import { describe, expect, test } from "vitest";
import { bf16Tensor, InputError, makeTensor, tensorOf, toF32, typedArray } from "../src/index.ts";

describe("a tensor", () => {
  test("views the typed array it was made from", () => {
    const array = Float32Array.of(1, 2, 3, 4, 5, 6);
    const tensor = tensorOf(array, [2, 3]);
    array[0] = 9;
    expect(tensor).toMatchObject({ dtype: "F32", shape: [2, 3] });
    expect(toF32(tensor)[0]).toBe(9);
    expect(typedArray(tensor)).toEqual(array);
  });

  test("keeps every typed array's element type", () => {
    for (const array of [Float64Array.of(1), BigInt64Array.of(-1n), BigUint64Array.of(1n), Int32Array.of(-1), Uint32Array.of(1), Float16Array.of(1.5), Int16Array.of(-1), Uint16Array.of(1), Int8Array.of(-1), Uint8Array.of(1)]) {
      expect(typedArray(tensorOf(array))).toEqual(array);
    }
  });

  test("of bf16 reads as f32", () => {
    expect(toF32(bf16Tensor(Uint16Array.of(0x3f80, 0xc000)))).toEqual(Float32Array.of(1, -2));
  });

  test("refuses bytes that do not fit, and f32 of integers", () => {
    expect(() => makeTensor("F32", [2, 2], new Uint8Array(12))).toThrow(/got 12, wanted 16/);
    expect(() => toF32(tensorOf(Int32Array.of(1)))).toThrow(InputError);
  });
});

describe("an input error", () => {
  test("states a field that is only part of another word", () => {
    expect(new InputError("transcoders cannot be loaded", { field: "transcode" }).message).toBe("transcoders cannot be loaded (field transcode)");
  });

  test("states each detail once", () => {
    const error = new InputError("cfg.json: k is too large", { file: "cfg.json", field: "d_sae", got: 9, wanted: [1, 8] });
    expect(error.message).toBe("cfg.json: k is too large (field d_sae; got 9, wanted [1,8])");
    expect(error).toMatchObject({ summary: "cfg.json: k is too large", file: "cfg.json", field: "d_sae", got: "9", wanted: "[1,8]" });
  });
});
