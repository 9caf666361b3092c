import type { FloatDType } from "./dtype.ts";
import { DTYPE_BYTES } from "./dtype.ts";
import { aligned } from "./bytes.ts";

const floatOfBits = new Float32Array(1);
const bitsOfFloat = new Uint32Array(floatOfBits.buffer);

/** bf16 bits → f32, exact. Fills `target` from `from`'s first `target.length` values. */
export function f32FromBf16(from: Uint16Array, target: Float32Array): Float32Array {
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < bits.length; i++) bits[i] = from[i]! << 16;
  return target;
}

/** f32 → bf16 bits, rounding to nearest, ties to even; a NaN stays a NaN. */
export function bf16FromF32(from: Float32Array, target: Uint16Array): Uint16Array {
  const bits = new Uint32Array(from.buffer, from.byteOffset, from.length);
  for (let i = 0; i < bits.length; i++) target[i] = roundToBf16(bits[i]!);
  return target;
}

/** bf16 bits of one number. */
export function bf16Bits(value: number): number {
  floatOfBits[0] = value;
  return roundToBf16(bitsOfFloat[0]!);
}

function roundToBf16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** f16 bits → f32, exact. Fills `target` from `from`'s first `target.length` values. */
export function f32FromF16(from: Uint16Array, target: Float32Array): Float32Array {
  target.set(new Float16Array(from.buffer, from.byteOffset, target.length));
  return target;
}

/** f32 → f16 bits, rounding to nearest, ties to even; beyond 65504 becomes infinite. */
export function f16FromF32(from: Float32Array, target: Uint16Array): Uint16Array {
  new Float16Array(target.buffer, target.byteOffset, target.length).set(from);
  return target;
}

/**
 * Little-endian bytes of a float type → f32 into `target`, which sets the number of values.
 * F64 rounds to nearest. Bytes that are not aligned for their type are copied once.
 */
export function f32FromBytes(dtype: FloatDType, bytes: Uint8Array, target: Float32Array): Float32Array {
  const source = aligned(bytes, DTYPE_BYTES[dtype]);
  if (dtype === "F32") target.set(new Float32Array(source.buffer, source.byteOffset, target.length));
  else if (dtype === "F64") target.set(new Float64Array(source.buffer, source.byteOffset, target.length));
  else if (dtype === "F16") f32FromF16(new Uint16Array(source.buffer, source.byteOffset, target.length), target);
  else f32FromBf16(new Uint16Array(source.buffer, source.byteOffset, target.length), target);
  return target;
}

/** f32 → little-endian bytes of `dtype`; F32 is a view of `values`, the others are new memory. */
export function bytesFromF32(dtype: FloatDType, values: Float32Array): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (dtype === "F64") return new Uint8Array(new Float64Array(values).buffer);
  const bits = new Uint16Array(values.length);
  if (dtype === "F16") f16FromF32(values, bits);
  else bf16FromF32(values, bits);
  return new Uint8Array(bits.buffer);
}
