import { open } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { InputError, isFloatDType, openSafetensors, type FloatDType } from "@mistral-sae/tensor";
import { rowBytes, type RowFile } from "./row-file.ts";

const NPY_DTYPES: Readonly<Record<string, FloatDType>> = { "<f8": "F64", "<f4": "F32", "<f2": "F16" };
const NPY_MAGIC = "\u0093NUMPY";

/**
 * Activations that another program wrote: tensor `x` of a safetensors file, or the array of an .npy file, of
 * shape [rows, d_in]. Nothing is copied.
 * @throws InputError naming file, tensor, shape or type when it is not that.
 */
export async function importRows(path: string, tensor = "x"): Promise<RowFile> {
  const file = path.toLowerCase().endsWith(".npy") ? await npyRows(path) : await safetensorsRows(path, tensor);
  if (file.rows === 0 || file.width === 0) throw new InputError("there are no activation rows", { file: path, field: tensor, got: `[${file.rows}, ${file.width}]`, wanted: "at least one row" });
  return file;
}

async function safetensorsRows(path: string, name: string): Promise<RowFile> {
  await using file = await openSafetensors(path);
  const found = file.tensors.get(name);
  if (found === undefined) {
    throw new InputError(`${path} has no tensor ${JSON.stringify(name)}`, { file: path, field: name, got: [...file.tensors.keys()].join(", "), wanted: `a tensor ${JSON.stringify(name)}` });
  }
  const { dtype, shape, offset } = found;
  if (!isFloatDType(dtype)) throw new InputError(`tensor ${JSON.stringify(name)} holds no floating-point numbers`, { file: path, field: name, got: dtype, wanted: "F64, F32, F16 or BF16" });
  return located(path, name, dtype, shape, offset);
}

async function npyRows(path: string): Promise<RowFile> {
  await using handle = await open(path, "r");
  const { size } = await handle.stat();
  const start = new Uint8Array(Math.min(size, 1 << 16));
  await handle.read(start, 0, start.length, 0);
  const view = new DataView(start.buffer);
  const text = Buffer.from(start).toString("latin1");
  if (!text.startsWith(NPY_MAGIC) || start.length < 12) throw new InputError("not an .npy file", { file: path, field: "magic", got: JSON.stringify(text.slice(0, 6)), wanted: '"\\x93NUMPY"' });
  const wide = (start[6] ?? 0) >= 2;
  const headerStart = wide ? 12 : 10;
  const headerEnd = headerStart + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = text.slice(headerStart, headerEnd);
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1] ?? "none";
  const dtype = NPY_DTYPES[descr];
  if (dtype === undefined) throw new InputError("an .npy file of this type is not read", { file: path, field: "descr", got: descr, wanted: Object.keys(NPY_DTYPES).join(", ") });
  if (!/'fortran_order':\s*False/.test(header)) throw new InputError("an .npy file in column order is not read", { file: path, field: "fortran_order", got: "True", wanted: "False" });
  const shape = (/'shape':\s*\(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").filter((part) => part.trim() !== "").map(Number);
  const rows = located(path, "shape", dtype, shape, headerEnd);
  const wanted = headerEnd + rowBytes(rows);
  if (size !== wanted) throw new InputError("the .npy file's length does not fit its shape", { file: path, field: "shape", got: `${size} bytes`, wanted: `${wanted} bytes` });
  return rows;
}

function located(path: string, field: string, dtype: FloatDType, shape: readonly number[], byteOffset: number): RowFile {
  const [rows, width] = shape;
  if (rows === undefined || width === undefined || shape.length !== 2 || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new InputError("activations must be a matrix", { file: path, field, got: `[${shape.join(", ")}]`, wanted: "[rows, d_in]" });
  }
  const absolute = resolve(path);
  return { store: { kind: "fs", root: dirname(absolute) }, key: basename(absolute), byteOffset, rows, width, dtype };
}
