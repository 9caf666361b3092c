import { type FileHandle, open } from "node:fs/promises";
import { bytesOf } from "../bytes.ts";
import { f32FromBytes } from "../convert.ts";
import { DTYPE_BYTES, elementCount, isFloatDType } from "../dtype.ts";
import { InputError } from "../input-error.ts";
import type { Tensor } from "../tensor.ts";
import { LARGEST_HEADER, parseHeader, type SafetensorsHeader, type TensorEntry } from "./header.ts";

/** A half-open range over a tensor's first dimension. */
export interface RowRange {
  readonly start: number;
  readonly end: number;
}

/** What to read of a tensor, and where to put it. */
export interface ReadOptions {
  /** Rows of the first dimension; the whole tensor when absent. */
  readonly rows?: RowRange | undefined;
}

export interface ReadF32Options extends ReadOptions {
  /** Filled and returned when given; must have exactly the elements read. */
  readonly target?: Float32Array | undefined;
}

/** Tensors by name, wherever they lie. Rows are read by range, never a whole file. */
export interface TensorSource extends AsyncDisposable {
  /** Names and places of the tensors, in file order. */
  readonly tensors: ReadonlyMap<string, LocatedTensor>;
  /** Bytes of a tensor, or of some of its rows, in memory of their own. */
  read(name: string, options?: ReadOptions): Promise<Tensor>;
  /** A float tensor, or some of its rows, as f32. */
  readF32(name: string, options?: ReadF32Options): Promise<Float32Array>;
  close(): Promise<void>;
}

/** A tensor's place: `offset` and `length` in bytes of `file`. */
export interface LocatedTensor extends TensorEntry {
  readonly file: string;
}

// Large enough to keep the disk busy, small enough to stay in cache while converting.
const CONVERT_BYTES = 1 << 20;
// One read call takes less than 2 GiB.
const LARGEST_READ = 1 << 30;

/** An open safetensors file. Owns a file handle until `close`. */
export class SafetensorsFile implements TensorSource {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, LocatedTensor>;
  /** The file's own `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly #handle: FileHandle;

  constructor(path: string, handle: FileHandle, header: SafetensorsHeader) {
    this.path = path;
    this.#handle = handle;
    this.metadata = header.metadata;
    this.tensors = new Map([...header.entries].map(([name, entry]) => [name, { ...entry, file: path }]));
  }

  async read(name: string, options: ReadOptions = {}): Promise<Tensor> {
    const place = this.#place(name, options.rows);
    const data = new Uint8Array(place.length);
    await readFully(this.#handle, data, place.offset, this.path);
    return { dtype: place.dtype, shape: place.shape, data };
  }

  async readF32(name: string, options: ReadF32Options = {}): Promise<Float32Array> {
    const { dtype, shape, offset } = this.#place(name, options.rows);
    if (!isFloatDType(dtype)) throw new InputError(`tensor "${name}" is not of a float type`, { file: this.path, field: `${name}.dtype`, got: dtype, wanted: "F32, F16, BF16 or F64" });
    const count = elementCount(shape);
    const target = options.target ?? new Float32Array(count);
    if (target.length !== count) throw new InputError(`the target does not fit tensor "${name}"`, { file: this.path, field: name, got: `${target.length} elements`, wanted: `${count} elements` });
    if (dtype === "F32") {
      await readFully(this.#handle, bytesOf(target), offset, this.path);
      return target;
    }
    const width = DTYPE_BYTES[dtype];
    const step = CONVERT_BYTES / width;
    const scratch = new Uint8Array(Math.min(count * width, CONVERT_BYTES));
    for (let done = 0; done < count; done += step) {
      const part = target.subarray(done, Math.min(done + step, count));
      const bytes = scratch.subarray(0, part.length * width);
      await readFully(this.#handle, bytes, offset + done * width, this.path);
      f32FromBytes(dtype, bytes, part);
    }
    return target;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #place(name: string, rows: RowRange | undefined): LocatedTensor {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) throw missingTensor(name, this.path, this.tensors);
    return rows === undefined ? tensor : selectRows(tensor, rows);
  }
}

/** The error for a tensor that a file lacks; it lists some of those that are there. */
export function missingTensor(name: string, file: string, tensors: ReadonlyMap<string, unknown>): InputError {
  const names = [...tensors.keys()];
  const got = names.length <= 12 ? names.join(", ") : `${names.slice(0, 12).join(", ")} and ${names.length - 12} more`;
  return new InputError(`there is no tensor "${name}"`, { file, field: name, got: got === "" ? "no tensors" : got, wanted: name });
}

function selectRows(tensor: LocatedTensor, rows: RowRange): LocatedTensor {
  const [count, ...rest] = tensor.shape;
  if (count === undefined) throw new InputError(`tensor "${tensor.name}" is a scalar and has no rows`, { file: tensor.file, field: tensor.name, got: "shape []", wanted: "one dimension or more" });
  const { start, end } = rows;
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end || end > count) {
    throw new InputError(`rows outside tensor "${tensor.name}"`, { file: tensor.file, field: tensor.name, got: `rows ${start} to ${end}`, wanted: `within 0 to ${count}` });
  }
  const rowBytes = elementCount(rest) * DTYPE_BYTES[tensor.dtype];
  return { ...tensor, shape: [end - start, ...rest], offset: tensor.offset + start * rowBytes, length: (end - start) * rowBytes };
}

async function readFully(handle: FileHandle, target: Uint8Array, position: number, file: string): Promise<void> {
  for (let done = 0; done < target.byteLength; ) {
    const { bytesRead } = await handle.read(target, done, Math.min(target.byteLength - done, LARGEST_READ), position + done);
    if (bytesRead === 0) {
      throw new InputError("the file ends too soon", { file, got: `${position + done} bytes`, wanted: `${position + target.byteLength} bytes` });
    }
    done += bytesRead;
  }
}

/**
 * Opens a safetensors file: reads and validates its header only. The caller closes it.
 * Throws InputError when the header lies; see {@link parseHeader}.
 */
export async function openSafetensors(path: string): Promise<SafetensorsFile> {
  const handle = await openFile(path);
  try {
    const { size } = await handle.stat();
    if (size < 8) throw new InputError("too short for a safetensors file; was it downloaded whole?", { file: path, field: "header length", got: `${size} bytes`, wanted: "at least 8 bytes" });
    const prefix = new Uint8Array(8);
    await readFully(handle, prefix, 0, path);
    const length = new DataView(prefix.buffer).getBigUint64(0, true);
    if (length > BigInt(LARGEST_HEADER)) {
      await refuseLfsPointer(handle, size, path);
      throw new InputError("the safetensors header is longer than allowed", { file: path, field: "header length", got: length, wanted: `at most ${LARGEST_HEADER}` });
    }
    if (length > BigInt(size - 8)) throw new InputError("the file ends within its safetensors header; was it downloaded whole?", { file: path, field: "header length", got: length, wanted: `at most ${size - 8}` });
    const bytes = new Uint8Array(Number(length));
    await readFully(handle, bytes, 8, path);
    return new SafetensorsFile(path, handle, parseHeader(bytes, size, path));
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Git LFS keeps a few lines of text in place of a file that was not fetched. */
async function refuseLfsPointer(handle: FileHandle, size: number, file: string): Promise<void> {
  const bytes = new Uint8Array(Math.min(size, 1024));
  await readFully(handle, bytes, 0, file);
  const text = new TextDecoder().decode(bytes);
  if (!text.startsWith("version https://git-lfs")) return;
  const stands = /^size (\d+)$/m.exec(text)?.[1];
  throw new InputError("the file is a Git LFS pointer in place of the weights: run `git lfs pull` in its folder, or download the model anew", {
    file,
    field: "header",
    got: `${size} bytes of text`,
    wanted: stands === undefined ? "the safetensors file" : `the file of ${stands} bytes`,
  });
}

async function openFile(path: string): Promise<FileHandle> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code === "ENOENT" || code === "ENOTDIR") throw new InputError("there is no such file", { file: path, field: "file" }, { cause: error });
    if (code === "EISDIR" || code === "EACCES") throw new InputError(`the file cannot be read: ${code}`, { file: path, field: "file" }, { cause: error });
    throw error;
  }
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    throw new InputError("not a regular file", { file: path, field: "file", wanted: "a safetensors file" });
  }
  return handle;
}
