import type { DType } from "../dtype.ts";
import { byteLength, DTYPE_BYTES, isDType } from "../dtype.ts";
import { InputError } from "../input-error.ts";
import { duplicateKey } from "./json-keys.ts";

/** Headers above this many bytes are refused, as the reference reader does. */
export const LARGEST_HEADER = 100_000_000;

/** Where a tensor lies in its file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: DType;
  /** Sizes, outermost first; empty for a scalar. */
  readonly shape: readonly number[];
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** A validated safetensors header. */
export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Parses and checks the JSON header of a safetensors file.
 *
 * `bytes` is the header without its 8-byte length, `fileSize` the size of the whole file.
 * Throws InputError for whatever the format forbids: duplicate keys, unknown dtypes, sizes that differ from
 * shape × dtype, and offsets that overlap, leave gaps or pass the end of the file.
 */
export function parseHeader(bytes: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  const root = parseJson(bytes, file);
  const dataStart = 8 + bytes.byteLength;
  const dataSize = fileSize - dataStart;
  const entries = new Map<string, TensorEntry>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(root)) {
    if (name === "__metadata__") metadata = parseMetadata(value, file);
    else entries.set(name, parseEntry(name, value, { file, dataStart, dataSize }));
  }
  requireContiguous([...entries.values()], { file, dataStart, dataSize });
  return { entries, metadata };
}

interface DataSection {
  readonly file: string;
  readonly dataStart: number;
  readonly dataSize: number;
}

function parseJson(bytes: Uint8Array, file: string): Readonly<Record<string, unknown>> {
  let text: string;
  let root: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new InputError("the safetensors header is not UTF-8", { file, field: "header" }, { cause: error });
  }
  if (!text.startsWith("{")) throw new InputError("the safetensors header does not start with {", { file, field: "header", got: text.slice(0, 16), wanted: "{" });
  try {
    root = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`the safetensors header is not JSON: ${reason}`, { file, field: "header" }, { cause: error });
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) throw new InputError(`the safetensors header names "${twice}" twice`, { file, field: twice, got: "2 entries", wanted: "1 entry" });
  if (!isObject(root)) throw new InputError("the safetensors header is not an object", { file, field: "header" });
  return root;
}

function parseMetadata(value: unknown, file: string): Readonly<Record<string, string>> {
  if (!isObject(value)) throw new InputError("__metadata__ is not an object", { file, field: "__metadata__", got: value, wanted: "an object of strings" });
  const metadata: [string, string][] = [];
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== "string") throw new InputError("a metadata value is not a string", { file, field: `__metadata__.${key}`, got: text, wanted: "a string" });
    metadata.push([key, text]);
  }
  return Object.fromEntries(metadata);
}

function parseEntry(name: string, value: unknown, section: DataSection): TensorEntry {
  const { file, dataStart, dataSize } = section;
  const fail = (key: string, message: string, got: unknown, wanted: unknown): never => {
    throw new InputError(`tensor "${name}": ${message}`, { file, field: `${name}.${key}`, got, wanted });
  };
  if (!isObject(value)) throw new InputError(`tensor "${name}" is not described by an object`, { file, field: name, got: value, wanted: "{dtype, shape, data_offsets}" });
  for (const key of Object.keys(value)) {
    if (key !== "dtype" && key !== "shape" && key !== "data_offsets") fail(key, "unknown key", key, "dtype, shape and data_offsets");
  }
  const { dtype, shape, data_offsets: offsets } = value as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  if (!isDType(dtype)) return fail("dtype", "unknown dtype", dtype ?? null, Object.keys(DTYPE_BYTES).join(", "));
  if (!isCounts(shape)) return fail("shape", "the shape is not a list of whole numbers", shape ?? null, "non-negative integers");
  if (!isCounts(offsets) || offsets.length !== 2) return fail("data_offsets", "the offsets are not two whole numbers", offsets ?? null, "[begin, end]");
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > dataSize) {
    const fault = begin > end ? "the offsets are in the wrong order" : "the offsets lie past the end of the file; was it downloaded whole?";
    fail("data_offsets", fault, [begin, end], `0 ≤ begin ≤ end ≤ ${dataSize}`);
  }
  const length = byteLength(dtype, shape);
  if (end - begin !== length) fail("data_offsets", `the size differs from ${dtype} [${shape.join(", ")}]`, `${end - begin} bytes`, `${length} bytes`);
  return { name, dtype, shape, offset: dataStart + begin, length };
}

function requireContiguous(entries: TensorEntry[], section: DataSection): void {
  entries.sort((a, b) => a.offset - b.offset || a.length - b.length);
  let expected = section.dataStart;
  for (const entry of entries) {
    if (entry.offset !== expected) {
      const fault = entry.offset < expected ? "overlaps the tensor before it" : "leaves a gap before it";
      const got = entry.offset - section.dataStart;
      throw new InputError(`tensor "${entry.name}" ${fault}`, {
        file: section.file,
        field: `${entry.name}.data_offsets`,
        got: `begin ${got}`,
        wanted: `begin ${expected - section.dataStart}`,
      });
    }
    expected += entry.length;
  }
  const used = expected - section.dataStart;
  if (used !== section.dataSize) {
    throw new InputError("the file's data is larger than its tensors", { file: section.file, field: "data", got: `${section.dataSize} bytes`, wanted: `${used} bytes` });
  }
}

function isCounts(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && (size as number) >= 0);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
