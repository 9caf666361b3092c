import { describe, expect, test } from "vitest";
import { bf16Bits, bf16FromF32, bytesFromF32, f16FromF32, f32FromBf16, f32FromBytes, f32FromF16 } from "../src/index.ts";

const everyHalf = Uint16Array.from({ length: 65_536 }, (_, i) => i);

/** IEEE 754 binary16 by its definition. */
function f16ByDefinition(bits: number): number {
  const sign = bits >> 15 === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

describe("half types", () => {
  test("every f16 pattern converts to the value of its definition", () => {
    const values = f32FromF16(everyHalf, new Float32Array(65_536));
    expect([...values]).toEqual([...everyHalf].map(f16ByDefinition));
  });

  test("every finite f16 and bf16 value survives a round trip through f32", () => {
    for (const [decode, encode] of [[f32FromF16, f16FromF32], [f32FromBf16, bf16FromF32]] as const) {
      const values = decode(everyHalf, new Float32Array(65_536));
      const back = encode(values, new Uint16Array(65_536));
      expect(everyHalf.filter((bits, i) => !Number.isNaN(values[i]) && back[i] !== bits)).toEqual(new Uint16Array(0));
      expect(decode(back, new Float32Array(65_536)).filter((value) => Number.isNaN(value)).length).toBe(values.filter((value) => Number.isNaN(value)).length);
    }
  });

  test("f32 rounds to the nearest half value and ties go to the even one", () => {
    const bf16 = (value: number): number => f32FromBf16(Uint16Array.of(bf16Bits(value)), new Float32Array(1))[0]!;
    expect(bf16(1 + 2 ** -8)).toBe(1);
    expect(bf16(1 + 3 * 2 ** -8)).toBe(1 + 2 ** -6);
    expect(bf16(1 + 2 ** -8 + 2 ** -16)).toBe(1 + 2 ** -7);
    expect(bf16(3.4e38)).toBe(Infinity);
    expect(bf16(NaN)).toBeNaN();
    const f16 = f16FromF32(Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 65_519, 65_520), new Uint16Array(4));
    expect([...f32FromF16(f16, new Float32Array(4))]).toEqual([1, 1 + 2 ** -9, 65_504, Infinity]);
  });

  test("bytes of every float type convert from an unaligned view", () => {
    const values = Float32Array.of(0.5, -3, 1024, 0);
    for (const dtype of ["F32", "F16", "BF16", "F64"] as const) {
      const bytes = bytesFromF32(dtype, values);
      const shifted = new Uint8Array(bytes.length + 1);
      shifted.set(bytes, 1);
      expect(f32FromBytes(dtype, shifted.subarray(1), new Float32Array(4))).toEqual(values);
    }
  });
});
