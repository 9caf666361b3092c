import { DataType, type Tensor } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { invalidArgument } from "@mistral-sae/rpc";
import { bf16FromF32, bytesFromF32, bytesOf, byteLength, type DType, f16FromF32, f32FromBytes, type FloatDType } from "@mistral-sae/tensor";

const DTYPES: Readonly<Record<number, DType>> = {
  [DataType.F32]: "F32",
  [DataType.F16]: "F16",
  [DataType.BF16]: "BF16",
  [DataType.U32]: "U32",
  [DataType.I64]: "I64",
  [DataType.U8]: "U8",
  [DataType.I32]: "I32",
  [DataType.F64]: "F64",
};

/** A Tensor message's fields. */
export interface TensorFields {
  readonly dtype: DataType;
  readonly shape: number[];
  readonly data: Uint8Array<ArrayBuffer>;
}

/** The element type in which residuals are asked for; unset is F32. */
export type ResidualDType = "F32" | "F16" | "BF16";

/** @throws INVALID_ARGUMENT DTYPE_UNSUPPORTED for anything but F32, F16 and BF16. */
export function residualDType(field: string, dtype: DataType): ResidualDType {
  const name = dtype === DataType.UNSPECIFIED ? "F32" : DTYPES[dtype];
  if (name === "F32" || name === "F16" || name === "BF16") return name;
  throw invalidArgument(field, `got ${name ?? dtype}, wanted F32, F16 or BF16`, "DTYPE_UNSUPPORTED");
}

const NUMBERS: Readonly<Record<ResidualDType, DataType>> = { F32: DataType.F32, F16: DataType.F16, BF16: DataType.BF16 };

/** Values as a Tensor message: F32 is a view of `values`, the half types are new memory. */
export function floatTensor(values: Float32Array, shape: number[], dtype: ResidualDType = "F32"): TensorFields {
  return { dtype: NUMBERS[dtype], shape, data: onArrayBuffer(bytesFromF32(dtype, values)) };
}

/** Writes rows as Tensor messages, one after another: each is valid until the next is written. */
export class TensorWriter {
  readonly #dtype: ResidualDType;
  #bits = new Uint16Array();

  constructor(dtype: ResidualDType) {
    this.#dtype = dtype;
  }

  /** [rows, width]. */
  rows(values: Float32Array, width: number): TensorFields {
    return { dtype: NUMBERS[this.#dtype], shape: [values.length / width, width], data: onArrayBuffer(bytesOf(this.#converted(values))) };
  }

  #converted(values: Float32Array): ArrayBufferView {
    if (this.#dtype === "F32") return values;
    if (this.#bits.length < values.length) this.#bits = new Uint16Array(values.length);
    const bits = this.#bits.subarray(0, values.length);
    return this.#dtype === "F16" ? f16FromF32(values, bits) : bf16FromF32(values, bits);
  }
}

/** Ids as a U32 Tensor message, a view of `values`. */
export function u32Tensor(values: Uint32Array, shape: number[]): TensorFields {
  return { dtype: DataType.U32, shape, data: onArrayBuffer(bytesOf(values)) };
}

/** Messages hold plain memory: what lies in shared memory is copied out. */
export function onArrayBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}

/**
 * A matrix or vector of floats from a request; `wanted` holds its sizes, "any" where they are free.
 * The result is the caller's own memory.
 *
 * @throws INVALID_ARGUMENT TENSOR_SIZE_MISMATCH, DTYPE_UNSUPPORTED or VALUE_NOT_FINITE naming the field.
 */
export function readFloats(field: string, tensor: Tensor | undefined, wanted: readonly (number | "any")[]): Float32Array {
  if (tensor === undefined) throw invalidArgument(field, `is not set, wanted a tensor [${wanted.join(", ")}]`);
  const dtype = DTYPES[tensor.dtype];
  if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16" && dtype !== "F64") {
    throw invalidArgument(`${field}.dtype`, `got ${dtype ?? tensor.dtype}, wanted F32, F16, BF16 or F64`, "DTYPE_UNSUPPORTED");
  }
  const shape = tensor.shape;
  if (shape.length !== wanted.length || shape.some((size, i) => wanted[i] !== "any" && wanted[i] !== size)) {
    throw invalidArgument(`${field}.shape`, `got [${shape.join(", ")}], wanted [${wanted.join(", ")}]`, "TENSOR_SIZE_MISMATCH");
  }
  const bytes = byteLength(dtype, shape);
  if (tensor.data.byteLength !== bytes) {
    throw invalidArgument(`${field}.data`, `got ${tensor.data.byteLength} bytes, wanted ${bytes} for ${dtype} [${shape.join(", ")}]`, "TENSOR_SIZE_MISMATCH");
  }
  const values = f32FromBytes(dtype satisfies FloatDType, tensor.data, new Float32Array(shape.reduce((n, size) => n * size, 1)));
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) {
      throw invalidArgument(field, `got ${values[i]} at element ${i}, wanted finite values`, "VALUE_NOT_FINITE");
    }
  }
  return values;
}
