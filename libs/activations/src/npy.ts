import { open } from "node:fs/promises";
import { DTYPE_BYTES, InputError, type FloatDType } from "@mistral-sae/tensor";

/** Where the array of an .npy file lies. */
export interface NpyArray {
  readonly dtype: FloatDType;
  readonly shape: readonly number[];
  /** First byte of the values. */
  readonly byteOffset: number;
}

/** NumPy has no bf16 of its own; ml_dtypes, which JAX and PyTorch users save with, writes two-byte voids. */
const DTYPES: Readonly<Record<string, FloatDType>> = { "<f8": "F64", "<f4": "F32", "<f2": "F16", "<V2": "BF16", "|V2": "BF16" };
const WANTED = "little-endian <f4, <f2, <f8, or <V2 for bf16";
const MAGIC = "\u0093NUMPY";
/** As NumPy's max_header_size. */
const LARGEST_HEADER = 10_000;

/**
 * Reads the header of an .npy file (format 1.0, 2.0 or 3.0 of numpy.lib.format) without running or guessing anything.
 * @throws InputError naming the file and what is wrong: magic, version, header, type, order, shape or length.
 */
export async function readNpy(path: string): Promise<NpyArray> {
  await using handle = await open(path, "r");
  const { size } = await handle.stat();
  const start = new Uint8Array(Math.min(size, LARGEST_HEADER));
  await handle.read(start, 0, start.length, 0);
  const text = Buffer.from(start).toString("latin1");
  if (!text.startsWith(MAGIC) || start.length < 12) throw new InputError("not an .npy file", { file: path, field: "magic", got: JSON.stringify(text.slice(0, 6)), wanted: '"\\x93NUMPY"' });
  const version = start[6] ?? 0;
  if (version < 1 || version > 3) throw new InputError("an .npy file of this version is not read", { file: path, field: "version", got: `${version}.${start[7] ?? 0}`, wanted: "1.0, 2.0 or 3.0" });
  const view = new DataView(start.buffer);
  const [headerStart, length] = version === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const byteOffset = headerStart + length;
  if (byteOffset > start.length) throw new InputError("the .npy header passes the end of the file", { file: path, field: "header", got: `${byteOffset} bytes`, wanted: `at most ${start.length} bytes` });
  const array = { ...parseHeader(text.slice(headerStart, byteOffset), path), byteOffset };
  const wanted = byteOffset + array.shape.reduce((product, extent) => product * extent, DTYPE_BYTES[array.dtype]);
  if (size !== wanted) throw new InputError("the .npy file's length does not fit its shape", { file: path, field: "shape", got: `${size} bytes`, wanted: `${wanted} bytes` });
  return array;
}

const HEADER = /^\{\s*(?:'(?:descr|fortran_order|shape)'\s*:\s*(?:'[^']*'|True|False|\([\d\s,]*\)|\[.*\])\s*(?:,\s*)?){3}\}\s*$/s;

function parseHeader(header: string, file: string): Pick<NpyArray, "dtype" | "shape"> {
  const descr = /'descr'\s*:\s*(?:'([^']*)'|(\[))/.exec(header);
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const extents = /'shape'\s*:\s*\(([\d\s,]*)\)/.exec(header)?.[1];
  if (!HEADER.test(header) || descr === null || order === undefined || extents === undefined) {
    throw new InputError("the .npy header cannot be read", { file, field: "header", got: header.trim(), wanted: "{'descr': …, 'fortran_order': …, 'shape': (…)}" });
  }
  const type = descr[1] ?? "several fields";
  const dtype = DTYPES[type];
  if (dtype === undefined) throw new InputError("an .npy file of this type is not read", { file, field: "descr", got: describeType(type), wanted: WANTED });
  const shape = extents.split(",").filter((part) => part.trim() !== "").map(Number);
  if (order === "True" && shape.length > 1) throw new InputError("an .npy file in column order is not read", { file, field: "fortran_order", got: "True", wanted: "False: save numpy.ascontiguousarray(x)" });
  return { dtype, shape };
}

function describeType(type: string): string {
  if (type.includes("O")) return `${type} (Python objects, which are never loaded)`;
  return type.startsWith(">") ? `${type} (big-endian)` : type;
}
