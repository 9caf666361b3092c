/** Element types under their safetensors names, with the width of one element in bytes. */
export const DTYPE_BYTES = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

/** An element type; values are little-endian. BOOL is one byte, 0 or 1. */
export type DType = keyof typeof DTYPE_BYTES;

/** The floating-point element types, the ones that convert to f32. */
export type FloatDType = "F64" | "F32" | "F16" | "BF16";

/** Typed arrays that back the element types; BF16 has none of its own and is held as U16 bits. */
export type TypedArray =
  | Float64Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Int32Array
  | Uint32Array
  | Float16Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

export function isDType(name: unknown): name is DType {
  return typeof name === "string" && Object.hasOwn(DTYPE_BYTES, name);
}

export function isFloatDType(dtype: DType): dtype is FloatDType {
  return dtype === "F32" || dtype === "F16" || dtype === "BF16" || dtype === "F64";
}

/** Number of elements in `shape`; 1 for a scalar. */
export function elementCount(shape: readonly number[]): number {
  let count = 1;
  for (const size of shape) count *= size;
  return count;
}

/** Bytes that a tensor of `dtype` and `shape` takes. */
export function byteLength(dtype: DType, shape: readonly number[]): number {
  return elementCount(shape) * DTYPE_BYTES[dtype];
}
