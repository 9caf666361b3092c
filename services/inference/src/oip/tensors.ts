import type { InferParameter, InferTensorContents, ModelInferRequest } from "@mistral-sae/contracts/inference/grpc_predict_v2";
import { invalidArgument } from "@mistral-sae/rpc";
import { f32FromBytes, type FloatDType } from "@mistral-sae/tensor";

/** Datatypes of the protocol that are taken or given here, with the bytes of an element; BYTES has none of its own. */
const WIDTHS = { BOOL: 1, INT32: 4, INT64: 8, UINT32: 4, UINT64: 8, FP16: 2, BF16: 2, FP32: 4, FP64: 8, BYTES: 0 } as const;

export type Datatype = keyof typeof WIDTHS;

/** What an input may hold. */
export type InputKind = "integers" | "floats" | "strings" | "booleans";

const KINDS: Readonly<Record<Datatype, InputKind>> = {
  BOOL: "booleans",
  INT32: "integers",
  INT64: "integers",
  UINT32: "integers",
  UINT64: "integers",
  FP16: "floats",
  BF16: "floats",
  FP32: "floats",
  FP64: "floats",
  BYTES: "strings",
};

/** An input tensor with its elements read. */
export interface InputTensor {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  /** Row-major: numbers (64-bit integers as bigint), strings or booleans. */
  readonly values: ArrayLike<number | bigint | string | boolean>;
}

/** All inputs of a request by name, from raw or typed contents. @throws INVALID_ARGUMENT naming the input. */
export function readInputs({ inputs, rawInputContents }: ModelInferRequest): ReadonlyMap<string, InputTensor> {
  const raw = rawInputContents.length > 0;
  if (raw && rawInputContents.length !== inputs.length) {
    throw invalidArgument("raw_input_contents", `got ${rawInputContents.length} entries for ${inputs.length} inputs, wanted one each`, "TENSOR_SIZE_MISMATCH");
  }
  const read = new Map<string, InputTensor>();
  for (const [i, { name, datatype, shape, contents, parameters }] of inputs.entries()) {
    const field = `inputs[${JSON.stringify(name)}]`;
    if (read.has(name)) throw invalidArgument(field, "is given twice, wanted each input once");
    const unknown = Object.keys(parameters).find((parameter) => parameter !== RAW_SIZE);
    if (unknown !== undefined) throw invalidArgument(`${field}.parameters`, `got ${unknown}, wanted none: shared memory and other extensions are not offered`);
    if (!isDatatype(datatype)) throw invalidArgument(`${field}.datatype`, `got ${JSON.stringify(datatype)}, wanted one of ${Object.keys(WIDTHS).join(", ")}`, "DTYPE_UNSUPPORTED");
    if (raw && contents !== undefined) throw invalidArgument(`${field}.contents`, "is given beside raw_input_contents, wanted one of the two");
    requireRawSize(field, parameters[RAW_SIZE], rawInputContents[i]);
    const sizes = shape.map(Number);
    if (sizes.some((size) => !Number.isSafeInteger(size) || size < 0)) throw invalidArgument(`${field}.shape`, `got [${shape.join(", ")}], wanted sizes of 0 or more`, "TENSOR_SIZE_MISMATCH");
    const count = sizes.reduce((product, size) => product * size, 1);
    const values = raw ? rawValues(field, datatype, rawInputContents[i] as Uint8Array, count) : typedValues(field, datatype, contents);
    if (values.length !== count) throw invalidArgument(field, `got ${values.length} elements for shape [${sizes.join(", ")}], wanted ${count}`, "TENSOR_SIZE_MISMATCH");
    read.set(name, { name, datatype, shape: sizes, values });
  }
  return read;
}

/** What KServe's client says of each raw input beside sending it. */
const RAW_SIZE = "binary_data_size";

function requireRawSize(field: string, parameter: InferParameter | undefined, bytes: Uint8Array | undefined): void {
  const said = parameter?.parameterChoice.value;
  if (said === undefined || Number(said) === bytes?.byteLength) return;
  throw invalidArgument(`${field}.parameters[${RAW_SIZE}]`, `got ${String(said)}, wanted ${bytes?.byteLength ?? 0}, the raw bytes sent`, "TENSOR_SIZE_MISMATCH");
}

function isDatatype(name: string): name is Datatype {
  return Object.hasOwn(WIDTHS, name);
}

function rawValues(field: string, datatype: Datatype, bytes: Uint8Array, count: number): InputTensor["values"] {
  if (datatype === "BYTES") return rawStrings(field, bytes);
  const wanted = count * WIDTHS[datatype];
  if (bytes.byteLength !== wanted) throw invalidArgument(field, `got ${bytes.byteLength} raw bytes, wanted ${wanted}: ${count} elements of ${datatype}`, "TENSOR_SIZE_MISMATCH");
  // A copy: a view of a pooled Buffer need not be aligned.
  const { buffer } = new Uint8Array(bytes);
  switch (datatype) {
    case "BOOL":
      return Array.from(bytes, (byte) => byte !== 0);
    case "INT32":
      return new Int32Array(buffer);
    case "UINT32":
      return new Uint32Array(buffer);
    case "INT64":
      return new BigInt64Array(buffer);
    case "UINT64":
      return new BigUint64Array(buffer);
    default:
      return f32FromBytes(FLOATS[datatype], new Uint8Array(buffer), new Float32Array(count));
  }
}

const FLOATS: Readonly<Record<"FP16" | "BF16" | "FP32" | "FP64", FloatDType>> = { FP16: "F16", BF16: "BF16", FP32: "F32", FP64: "F64" };

function rawStrings(field: string, bytes: Uint8Array): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const strings: string[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const end = at + 4 <= bytes.byteLength ? at + 4 + view.getUint32(at, true) : Infinity;
    if (end > bytes.byteLength) throw invalidArgument(field, `element ${strings.length} reaches past the ${bytes.byteLength} raw bytes, wanted a length of 4 bytes and as many bytes`, "TENSOR_SIZE_MISMATCH");
    strings.push(utf8(field, bytes.subarray(at + 4, end)));
    at = end;
  }
  return strings;
}

function typedValues(field: string, datatype: Datatype, contents: InferTensorContents | undefined): InputTensor["values"] {
  if (contents === undefined) return [];
  switch (datatype) {
    case "BOOL":
      return contents.boolContents;
    case "INT32":
      return contents.intContents;
    case "UINT32":
      return contents.uintContents;
    case "INT64":
      return contents.int64Contents;
    case "UINT64":
      return contents.uint64Contents;
    case "FP32":
      return contents.fp32Contents;
    case "FP64":
      return contents.fp64Contents;
    case "BYTES":
      return contents.bytesContents.map((bytes) => utf8(field, bytes));
    default:
      throw invalidArgument(field, `got ${datatype} in contents, wanted it in raw_input_contents: the protocol has no list for it`, "DTYPE_UNSUPPORTED");
  }
}

function utf8(field: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw invalidArgument(field, "holds bytes that are no UTF-8 text");
  }
}

/** @throws INVALID_ARGUMENT DTYPE_UNSUPPORTED when the input holds something else. */
export function requireKind(tensor: InputTensor, kind: InputKind): void {
  if (KINDS[tensor.datatype] === kind) return;
  const wanted = Object.entries(KINDS).flatMap(([datatype, is]) => (is === kind ? [datatype] : []));
  throw invalidArgument(`inputs[${JSON.stringify(tensor.name)}].datatype`, `got ${tensor.datatype}, wanted ${wanted.join(", ")}`, "DTYPE_UNSUPPORTED");
}

/** The elements of an integer input. @throws INVALID_ARGUMENT for another datatype or an element beyond 2^53. */
export function integersOf(tensor: InputTensor): Float64Array {
  requireKind(tensor, "integers");
  return Float64Array.from({ length: tensor.values.length }, (_, i) => {
    const value = Number(tensor.values[i]);
    if (!Number.isSafeInteger(value)) throw invalidArgument(`inputs[${JSON.stringify(tensor.name)}]`, `got ${String(tensor.values[i])} at element ${i}, wanted at most 2^53`);
    return value;
  });
}

/** The elements of a float input. @throws INVALID_ARGUMENT for another datatype or a value that is not finite. */
export function floatsOf(tensor: InputTensor): Float32Array {
  requireKind(tensor, "floats");
  return Float32Array.from({ length: tensor.values.length }, (_, i) => {
    const value = Math.fround(tensor.values[i] as number);
    if (!Number.isFinite(value)) throw invalidArgument(`inputs[${JSON.stringify(tensor.name)}]`, `got ${String(tensor.values[i])} at element ${i}, wanted finite values`, "VALUE_NOT_FINITE");
    return value;
  });
}
