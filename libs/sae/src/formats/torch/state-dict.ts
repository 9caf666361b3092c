import { type FileHandle, open } from "node:fs/promises";
import { DTYPE_BYTES, type DType, elementCount, f32FromBytes, InputError, isFloatDType, missingTensor, typedArray } from "@mistral-sae/tensor";
import { readPickle } from "./pickle.ts";
import { type PickleValue, StorageRef, TensorRef } from "./pickle-values.ts";
import { ZipArchive, type ZipEntry } from "./zip.ts";

// A state dict describes a tensor in some 200 bytes.
const LARGEST_PICKLE = 4 << 20;

/** A tensor of a state dict. */
export interface TorchTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A `.pt` file with a state dict, as torch.save writes it since 1.6. Nothing in it is executed. Owns a file handle until `close`. */
export class StateDict implements AsyncDisposable {
  readonly path: string;
  readonly tensors: ReadonlyMap<string, TorchTensor>;
  /** Entries that are no tensors. */
  readonly values: ReadonlyMap<string, PickleValue>;
  readonly #refs: ReadonlyMap<string, TensorRef>;
  readonly #archive: ZipArchive;
  readonly #entries: ReadonlyMap<string, ZipEntry>;
  readonly #handle: FileHandle;

  constructor(parts: { path: string; handle: FileHandle; archive: ZipArchive; entries: ReadonlyMap<string, ZipEntry>; refs: ReadonlyMap<string, TensorRef>; values: ReadonlyMap<string, PickleValue> }) {
    this.path = parts.path;
    this.#handle = parts.handle;
    this.#archive = parts.archive;
    this.#entries = parts.entries;
    this.#refs = parts.refs;
    this.values = parts.values;
    this.tensors = new Map([...parts.refs].map(([name, { storage, shape }]) => [name, { name, dtype: storage.dtype, shape }]));
  }

  /** A float tensor in row-major order. */
  async readF32(name: string): Promise<Float32Array> {
    const ref = this.#ref(name);
    return gather(await this.#storageF32(name, ref), ref.offset, ref.shape, ref.stride);
  }

  /** A float matrix [rows, columns] as its transpose. */
  async readTransposed(name: string): Promise<Float32Array> {
    const ref = this.#ref(name);
    return gather(await this.#storageF32(name, ref), ref.offset, ref.shape.toReversed(), ref.stride.toReversed());
  }

  /** The one value of a scalar tensor of any type. */
  async readScalar(name: string): Promise<number> {
    const ref = this.#ref(name);
    if (elementCount(ref.shape) !== 1) throw new InputError(`tensor "${name}" is no scalar`, { file: this.path, field: name, got: `shape [${ref.shape.join(", ")}]`, wanted: "shape []" });
    const data = await this.#bytes(name, ref);
    const { dtype, count } = ref.storage;
    if (isFloatDType(dtype)) return f32FromBytes(dtype, data, new Float32Array(count))[ref.offset]!;
    return Number(typedArray({ dtype, shape: [count], data })[ref.offset]!);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #ref(name: string): TensorRef {
    const ref = this.#refs.get(name);
    if (ref === undefined) throw missingTensor(name, this.path, this.#refs);
    return ref;
  }

  async #storageF32(name: string, ref: TensorRef): Promise<Float32Array> {
    const { dtype, count } = ref.storage;
    if (!isFloatDType(dtype)) throw new InputError(`tensor "${name}" is not of a float type`, { file: this.path, field: `${name}.dtype`, got: dtype, wanted: "F32, F16, BF16 or F64" });
    return f32FromBytes(dtype, await this.#bytes(name, ref), new Float32Array(count));
  }

  async #bytes(name: string, { storage, offset, shape, stride }: TensorRef): Promise<Uint8Array> {
    const refuse = (got: string, wanted: string): InputError => new InputError(`tensor "${name}" does not fit its storage`, { file: this.path, field: name, got, wanted });
    if (elementCount(shape) > storage.count) throw refuse(`${elementCount(shape)} elements`, `at most ${storage.count}`);
    const last = shape.reduce((at, size, axis) => at + (size - 1) * stride[axis]!, offset);
    if (elementCount(shape) > 0 && last >= storage.count) throw refuse(`an element at ${last}`, `below ${storage.count}`);
    const entry = this.#entries.get(storage.key);
    if (entry === undefined) throw refuse(`no data/${storage.key}`, "its storage in the archive");
    const wanted = storage.count * DTYPE_BYTES[storage.dtype];
    if (entry.size !== wanted) throw refuse(`${entry.size} bytes`, `${wanted} bytes`);
    return await this.#archive.read(entry);
  }
}

/** Copies a strided view out of a storage in row-major order. */
function gather(storage: Float32Array, offset: number, shape: readonly number[], stride: readonly number[]): Float32Array {
  const count = elementCount(shape);
  const contiguous = stride.every((step, axis) => shape[axis] === 1 || step === elementCount(shape.slice(axis + 1)));
  if (contiguous) return offset === 0 && count === storage.length ? storage : storage.slice(offset, offset + count);
  const result = new Float32Array(count);
  const columns = shape.at(-1)!;
  const step = stride.at(-1)!;
  for (let row = 0; row * columns < count; row++) {
    let from = offset;
    for (let axis = shape.length - 2, rest = row; axis >= 0; axis--) {
      from += (rest % shape[axis]!) * stride[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    for (let column = 0; column < columns; column++) result[row * columns + column] = storage[from + column * step]!;
  }
  return result;
}

/** Opens a `.pt` file that holds a state dict. Throws InputError for anything else; see {@link readPickle}. */
export async function openStateDict(path: string): Promise<StateDict> {
  const handle = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") throw new InputError("there is no such file", { file: path }, { cause: error });
    throw error;
  });
  try {
    const { archive, entries } = await ZipArchive.open(path, handle);
    const pickle = [...entries.values()].find(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
    if (pickle === undefined) throw new InputError("the archive holds no pickle", { file: path, field: "data.pkl", got: [...entries.keys()].slice(0, 6).join(", "), wanted: "an archive that torch.save wrote" });
    if (pickle.size > LARGEST_PICKLE) throw new InputError("the pickle is too large for a state dict", { file: path, field: "data.pkl", got: `${pickle.size} bytes`, wanted: `at most ${LARGEST_PICKLE} bytes` });
    const root = pickle.name.slice(0, -"data.pkl".length);
    await requireLittleEndian(path, archive, entries.get(`${root}byteorder`));
    const { refs, values } = split(readPickle(await archive.read(pickle), path), path);
    const data = new Map([...entries].filter(([name]) => name.startsWith(`${root}data/`)).map(([name, entry]) => [name.slice(root.length + "data/".length), entry]));
    return new StateDict({ path, handle, archive, entries: data, refs, values });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function requireLittleEndian(path: string, archive: ZipArchive, entry: ZipEntry | undefined): Promise<void> {
  const order = entry === undefined ? "little" : new TextDecoder().decode(await archive.read(entry)).trim();
  if (order !== "little") throw new InputError("the tensors are not little-endian", { file: path, field: "byteorder", got: order, wanted: "little" });
}

function split(root: PickleValue, file: string): { refs: Map<string, TensorRef>; values: Map<string, PickleValue> } {
  if (!(root instanceof Map)) throw new InputError("the file holds no state dict", { file, field: "data.pkl", got: root instanceof TensorRef || root instanceof StorageRef ? "a tensor" : typeof root, wanted: "a dict of tensors" });
  const refs = new Map<string, TensorRef>();
  const values = new Map<string, PickleValue>();
  for (const [key, value] of root) {
    if (typeof key !== "string") throw new InputError("the state dict has a key that is no string", { file, field: "data.pkl", got: typeof key, wanted: "a string" });
    if (value instanceof TensorRef) refs.set(key, value);
    else values.set(key, value);
  }
  return { refs, values };
}
