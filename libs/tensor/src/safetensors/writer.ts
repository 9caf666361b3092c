import { createHash } from "node:crypto";
import type { DType } from "../dtype.ts";
import { byteLength, DTYPE_BYTES } from "../dtype.ts";
import { AtomicFile, sha256File } from "../files.ts";
import { InputError } from "../input-error.ts";
import type { Tensor } from "../tensor.ts";

/** A tensor to write whose bytes come in pieces, in order; together exactly product(shape) × width(dtype). */
export interface StreamedTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** A tensor announced to {@link SafetensorsWriter}. */
export interface PlannedTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

interface Slot {
  readonly start: number;
  readonly length: number;
  written: number;
}

/**
 * A safetensors file written in pieces, in any order over its tensors. It appears at its path on `commit` and not before.
 * Each tensor's own bytes are appended from first to last.
 */
export class SafetensorsWriter implements AsyncDisposable {
  readonly #file: AtomicFile;
  readonly #slots: ReadonlyMap<string, Slot>;

  private constructor(file: AtomicFile, slots: ReadonlyMap<string, Slot>) {
    this.#file = file;
    this.#slots = slots;
  }

  /** Starts the file at `path` with its header. */
  static async create(path: string, tensors: Readonly<Record<string, PlannedTensor>>, metadata: Readonly<Record<string, string>> = {}): Promise<SafetensorsWriter> {
    const { header, order } = layOut(tensors, metadata);
    const file = await AtomicFile.create(path);
    await file.write(header, 0);
    const slots = new Map<string, Slot>();
    let start = header.byteLength;
    for (const [name, tensor] of order) {
      const length = byteLength(tensor.dtype, tensor.shape);
      slots.set(name, { start, length, written: 0 });
      start += length;
    }
    return new SafetensorsWriter(file, slots);
  }

  /** Appends bytes to tensor `name`. The caller may reuse `bytes` afterwards. */
  async append(name: string, bytes: Uint8Array): Promise<void> {
    const slot = this.#slots.get(name);
    if (slot === undefined) throw new InputError(`tensor "${name}" was not announced`, { file: this.#file.path, field: name });
    const at = slot.written;
    if (at + bytes.byteLength > slot.length) throw tooMuch(this.#file.path, name, at + bytes.byteLength, slot.length);
    slot.written = at + bytes.byteLength;
    await this.#file.write(bytes, slot.start + at);
  }

  /** Makes the file appear. Throws InputError when a tensor is not complete. */
  async commit(): Promise<void> {
    for (const [name, slot] of this.#slots) {
      if (slot.written !== slot.length) throw tooMuch(this.#file.path, name, slot.written, slot.length);
    }
    await this.#file.commit();
  }

  async discard(): Promise<void> {
    await this.#file.discard();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.discard();
  }

  /** SHA-256 of a committed file. */
  async sha256(): Promise<string> {
    return await sha256File(this.#file.path);
  }
}

/**
 * Writes a safetensors file in one step (temporary file, fsync, rename, fsync of the folder) and returns the SHA-256 of its bytes.
 * Widest types come first, then by name, so that equal tensors make equal files and every tensor is aligned.
 */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, Tensor | StreamedTensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { header, order } = layOut(tensors, metadata);
  const hash = createHash("sha256");
  await using file = await AtomicFile.create(path);
  let position = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    hash.update(bytes);
    await file.write(bytes, position);
    position += bytes.byteLength;
  };
  await put(header);
  for (const [name, tensor] of order) {
    const start = position;
    const length = byteLength(tensor.dtype, tensor.shape);
    for await (const chunk of "data" in tensor ? [tensor.data] : tensor.chunks) {
      if (position + chunk.byteLength > start + length) throw tooMuch(path, name, position + chunk.byteLength - start, length);
      await put(chunk);
    }
    if (position !== start + length) throw tooMuch(path, name, position - start, length);
  }
  await file.commit();
  return hash.digest("hex");
}

function tooMuch(file: string, name: string, got: number, wanted: number): InputError {
  return new InputError(`the bytes of tensor "${name}" do not fill its shape`, { file, field: name, got: `${got} bytes`, wanted: `${wanted} bytes` });
}

function layOut<T extends PlannedTensor>(tensors: Readonly<Record<string, T>>, metadata: Readonly<Record<string, string>>): { header: Uint8Array; order: [string, T][] } {
  const order = Object.entries(tensors).sort(([a, x], [b, y]) => DTYPE_BYTES[y.dtype] - DTYPE_BYTES[x.dtype] || (a < b ? -1 : 1));
  const json: [string, unknown][] = Object.keys(metadata).length === 0 ? [] : [["__metadata__", metadata]];
  let begin = 0;
  for (const [name, { dtype, shape }] of order) {
    const end = begin + byteLength(dtype, shape);
    json.push([name, { dtype, shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries(json)));
  const padded = Math.ceil(text.byteLength / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(text, 8);
  return { header, order };
}
