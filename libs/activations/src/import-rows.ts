import { createHash } from "node:crypto";
import { glob, opendir, stat } from "node:fs/promises";
import { basename, dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { DTYPE_BYTES, InputError, isFloatDType, openSafetensors, type FloatDType, type LocatedTensor } from "@mistral-sae/tensor";
import { readNpy } from "./npy.ts";
import { openStore, type RowFile } from "./row-file.ts";

/** Rows that another program wrote: files that follow each other. */
export interface ImportedRows {
  readonly files: readonly RowFile[];
  readonly rows: number;
  readonly width: number;
  readonly dtype: FloatDType;
}

const ENDINGS = new Set([".safetensors", ".npy"]);

/**
 * Opens the rows at `uri`: every entry of it (one a line) is a file, a folder (without its sub-folders) or a glob
 * of .safetensors and .npy files. Nothing is copied.
 * @param tensor Tensor of each safetensors file; empty takes `x`, or the only matrix.
 * @throws InputError naming the file when one is not of the same width and type as the first.
 */
export async function importRows(uri: string, tensor = ""): Promise<ImportedRows> {
  const files: RowFile[] = [];
  for (const path of await listRowFiles(uri)) {
    const file = path.toLowerCase().endsWith(".npy") ? await npyRows(path) : await safetensorsRows(path, tensor);
    const { width, dtype } = files[0] ?? file;
    if (file.rows === 0 || file.width === 0) throw new InputError("there are no activation rows", { file: path, field: "shape", got: `[${file.rows}, ${file.width}]`, wanted: "at least one row" });
    if (file.width !== width || file.dtype !== dtype) throw new InputError("the files hold different rows", { file: path, field: "shape", got: `${file.dtype} [n, ${file.width}]`, wanted: `${dtype} [n, ${width}] as in ${files[0]?.key ?? ""}` });
    files.push(file);
  }
  const { width = 0, dtype = "F32" } = files[0] ?? {};
  return { files, rows: files.reduce((sum, file) => sum + file.rows, 0), width, dtype };
}

/** Absolute paths of the files at `uri`, each once, in ascending order of their code units. @throws InputError on an entry without any. */
export async function listRowFiles(uri: string): Promise<readonly string[]> {
  const entries = uri.split("\n").map((entry) => entry.trim()).filter((entry) => entry !== "");
  if (entries.length === 0) throw new InputError("there is no path to rows", { field: "uri", got: JSON.stringify(uri), wanted: "a file, folder or glob" });
  const files = new Set<string>();
  for (const entry of entries) for (const file of await filesOf(entry)) files.add(file);
  return [...files].sort((a, b) => (a < b ? -1 : Number(a > b)));
}

async function filesOf(entry: string): Promise<readonly string[]> {
  const path = resolve(entry.startsWith("file://") ? fileURLToPath(entry) : entry);
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() === true) {
    if (!isRowFile(path)) throw new InputError("a file of this kind holds no rows that are read", { file: path, field: "uri", got: extname(path), wanted: [...ENDINGS].join(" or ") });
    return [path];
  }
  const matches: string[] = [];
  if (found?.isDirectory() === true) {
    for await (const { name } of await opendir(path)) if (isRowFile(name) && !name.startsWith(".")) matches.push(join(path, name));
  } else if (/[*?[{]/.test(entry)) {
    for await (const match of glob(path)) if (isRowFile(match)) matches.push(resolve(match));
  }
  if (matches.length === 0) throw new InputError("nothing to read", { file: path, field: "uri", got: found === undefined ? "no such file, folder or match" : "a folder without any", wanted: `a file, folder or glob of ${[...ENDINGS].join(" or ")}` });
  return matches;
}

function isRowFile(path: string): boolean {
  return ENDINGS.has(extname(path).toLowerCase());
}

async function npyRows(path: string): Promise<RowFile> {
  const { dtype, shape, byteOffset } = await readNpy(path);
  return located(path, "shape", dtype, shape, byteOffset);
}

async function safetensorsRows(path: string, name: string): Promise<RowFile> {
  await using file = await openSafetensors(path);
  const found = name === "" ? onlyMatrix(path, file.tensors) : file.tensors.get(name);
  if (found === undefined) {
    throw new InputError(`${path} has no tensor ${JSON.stringify(name)}`, { file: path, field: name, got: [...file.tensors.keys()].join(", "), wanted: `a tensor ${JSON.stringify(name)}` });
  }
  const { dtype, shape, offset } = found;
  if (!isFloatDType(dtype)) throw new InputError(`tensor ${JSON.stringify(found.name)} holds no floating-point numbers`, { file: path, field: found.name, got: dtype, wanted: "F64, F32, F16 or BF16" });
  return located(path, found.name, dtype, shape, offset);
}

function onlyMatrix(path: string, tensors: ReadonlyMap<string, LocatedTensor>): LocatedTensor {
  const usual = tensors.get("x");
  if (usual !== undefined) return usual;
  const matrices = [...tensors.values()].filter(({ dtype, shape }) => isFloatDType(dtype) && shape.length === 2);
  const [only] = matrices;
  if (only !== undefined && matrices.length === 1) return only;
  throw new InputError("which tensor holds the rows is not clear", { file: path, field: "tensor", got: [...tensors.values()].map((found) => `${found.name} ${found.dtype} [${found.shape.join(", ")}]`).join("; ") || "no tensors", wanted: 'one matrix, a tensor "x", or the name of one' });
}

function located(path: string, field: string, dtype: FloatDType, shape: readonly number[], byteOffset: number): RowFile {
  const [rows, width] = shape;
  if (rows === undefined || width === undefined || shape.length !== 2 || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new InputError("activations must be a matrix", { file: path, field, got: `[${shape.join(", ")}]`, wanted: "[rows, d_in]" });
  }
  const absolute = resolve(path);
  return { store: { kind: "fs", root: dirname(absolute) }, key: basename(absolute), byteOffset, rows, width, dtype };
}

/**
 * Names rows by where they lie, and by the size and time of change of their files: what has the same name has not
 * been written to since.
 */
export async function rowsFingerprint(files: readonly RowFile[]): Promise<string> {
  const hash = createHash("sha256");
  for (const { store, key, byteOffset, rows, width, dtype, sha256 } of files) {
    const info = await openStore(store).head(key);
    hash.update(JSON.stringify([sha256 === undefined ? [store.root, key, info?.size, info?.modified.getTime()] : sha256, byteOffset, rows, width, dtype]));
  }
  return hash.digest("hex");
}

/** The same rows as shards of at most `shardRows`, cut at the same rows in each list, so that row i of each belongs together. A part of a file is not checked against the file's SHA-256. @throws InputError when the lists have different rows. */
export function cutAlike(columns: readonly ImportedRows[], shardRows: number): readonly (readonly RowFile[])[] {
  const [first] = columns;
  const odd = columns.find(({ rows }) => rows !== first?.rows);
  if (odd !== undefined) throw new InputError("inputs and outputs have different rows", { file: odd.files[0]?.key ?? "", field: "rows", got: `${odd.rows} rows`, wanted: `${first?.rows ?? 0} rows` });
  const ends = new Set<number>();
  for (const { files } of columns) {
    let end = 0;
    for (const { rows } of files) {
      for (const start = end; end < start + rows; ) ends.add((end = Math.min(end + shardRows, start + rows)));
    }
  }
  const cuts = [...ends].sort((a, b) => a - b);
  return columns.map(({ files }) => cutFiles(files, cuts));
}

function cutFiles(files: readonly RowFile[], cuts: readonly number[]): RowFile[] {
  const shards: RowFile[] = [];
  const queue = cuts.values();
  let start = 0;
  for (const file of files) {
    const rowSize = file.width * DTYPE_BYTES[file.dtype];
    for (let from = 0; from < file.rows; ) {
      const { value: end = start + file.rows } = queue.next();
      const to = end - start;
      const whole = to - from === file.rows;
      shards.push(whole ? file : { ...file, byteOffset: file.byteOffset + from * rowSize, rows: to - from, sha256: undefined });
      from = to;
    }
    start += file.rows;
  }
  return shards;
}
