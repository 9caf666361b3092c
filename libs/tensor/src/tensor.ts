import { aligned, bytesOf } from "./bytes.ts";
import { f32FromBytes } from "./convert.ts";
import type { DType, TypedArray } from "./dtype.ts";
import { byteLength, DTYPE_BYTES, elementCount, isFloatDType } from "./dtype.ts";
import { InputError } from "./input-error.ts";

/** A dense row-major tensor over little-endian bytes that it does not own. */
export interface Tensor {
  readonly dtype: DType;
  /** Sizes, outermost first; empty for a scalar. */
  readonly shape: readonly number[];
  /** Exactly product(shape) × width(dtype) bytes. */
  readonly data: Uint8Array;
}

/** A tensor over `data`. Throws InputError when the bytes do not fit dtype and shape. */
export function makeTensor(dtype: DType, shape: readonly number[], data: Uint8Array): Tensor {
  const wanted = byteLength(dtype, shape);
  if (data.byteLength !== wanted) {
    throw new InputError(`tensor bytes do not fit ${dtype} [${shape.join(", ")}]`, { field: "data", got: data.byteLength, wanted });
  }
  return { dtype, shape, data };
}

/** A tensor over a typed array's own memory; the dtype follows the array's type. */
export function tensorOf(array: TypedArray, shape: readonly number[] = [array.length]): Tensor {
  return makeTensor(dtypeOf(array), shape, bytesOf(array));
}

/** A BF16 tensor over its bits. */
export function bf16Tensor(bits: Uint16Array, shape: readonly number[] = [bits.length]): Tensor {
  return makeTensor("BF16", shape, bytesOf(bits));
}

function dtypeOf(array: TypedArray): DType {
  if (array instanceof Float32Array) return "F32";
  if (array instanceof Float64Array) return "F64";
  if (array instanceof Float16Array) return "F16";
  if (array instanceof BigInt64Array) return "I64";
  if (array instanceof BigUint64Array) return "U64";
  if (array instanceof Int32Array) return "I32";
  if (array instanceof Uint32Array) return "U32";
  if (array instanceof Int16Array) return "I16";
  if (array instanceof Uint16Array) return "U16";
  if (array instanceof Int8Array) return "I8";
  return "U8";
}

/** The tensor's values as its own typed array (BF16: its bits): a view where alignment allows. */
export function typedArray(tensor: Tensor): TypedArray {
  const { buffer, byteOffset } = aligned(tensor.data, DTYPE_BYTES[tensor.dtype]);
  const length = elementCount(tensor.shape);
  switch (tensor.dtype) {
    case "F64":
      return new Float64Array(buffer, byteOffset, length);
    case "I64":
      return new BigInt64Array(buffer, byteOffset, length);
    case "U64":
      return new BigUint64Array(buffer, byteOffset, length);
    case "F32":
      return new Float32Array(buffer, byteOffset, length);
    case "I32":
      return new Int32Array(buffer, byteOffset, length);
    case "U32":
      return new Uint32Array(buffer, byteOffset, length);
    case "F16":
      return new Float16Array(buffer, byteOffset, length);
    case "I16":
      return new Int16Array(buffer, byteOffset, length);
    case "BF16":
    case "U16":
      return new Uint16Array(buffer, byteOffset, length);
    case "I8":
      return new Int8Array(buffer, byteOffset, length);
    default:
      return new Uint8Array(buffer, byteOffset, length);
  }
}

/**
 * The tensor's values as f32: an aligned F32 tensor is viewed, everything else converted into `target` or new memory.
 * Throws InputError when the tensor is not of a float type.
 */
export function toF32(tensor: Tensor, target?: Float32Array): Float32Array {
  const { dtype, data, shape } = tensor;
  if (!isFloatDType(dtype)) throw new InputError("only float tensors read as f32", { field: "dtype", got: dtype, wanted: "F32, F16, BF16 or F64" });
  if (target === undefined && dtype === "F32" && data.byteOffset % 4 === 0) {
    return new Float32Array(data.buffer, data.byteOffset, elementCount(shape));
  }
  return f32FromBytes(dtype, data, target ?? new Float32Array(elementCount(shape)));
}
