/**
 * A column of a Native block. Native is ClickHouse's own column-by-column format:
 * https://clickhouse.com/docs/interfaces/formats/Native
 */
export interface NativeColumn {
  readonly name: string;
  readonly type: string;
  readonly rows: number;
  /** The column's bytes, in order; views of the caller's arrays where they can be. */
  readonly parts: readonly Uint8Array[];
}

/** Types whose values lie in a typed array as ClickHouse wants them, little-endian. BFloat16 takes its bits. */
export interface FixedTypes {
  UInt8: Uint8Array;
  UInt16: Uint16Array;
  UInt32: Uint32Array;
  UInt64: BigUint64Array;
  BFloat16: Uint16Array;
  Float32: Float32Array;
  Float64: Float64Array;
}

/** One value a row; the column is a view of `values`. */
export function fixedColumn<T extends keyof FixedTypes>(name: string, type: T, values: FixedTypes[T]): NativeColumn {
  return { name, type, rows: values.length, parts: [bytesOf(values)] };
}

/** The same value in every row. */
export function constantColumn(name: string, type: "UInt8" | "UInt32", value: number, rows: number): NativeColumn {
  const values = type === "UInt8" ? new Uint8Array(rows) : new Uint32Array(rows);
  return { name, type, rows, parts: [bytesOf(values.fill(value))] };
}

/** An array a row; row i holds `values[ends[i - 1]]` up to `values[ends[i]]`. A view of `values`. */
export function arrayColumn<T extends keyof FixedTypes>(name: string, type: T, ends: Uint32Array, values: FixedTypes[T]): NativeColumn {
  requireEnds(name, ends, values.length);
  return { name, type: `Array(${type})`, rows: ends.length, parts: [bytesOf(wide(ends)), bytesOf(values)] };
}

/** One value or NULL a row; row i is NULL where `nulls[i]` is 1. */
export function nullableColumn<T extends keyof FixedTypes>(name: string, type: T, nulls: Uint8Array, values: FixedTypes[T]): NativeColumn {
  if (nulls.length !== values.length) throw new Error(`column ${name} has ${nulls.length} marks of NULL, wanted one for each of ${values.length} values`);
  return { name, type: `Nullable(${type})`, rows: values.length, parts: [nulls, bytesOf(values)] };
}

/** One string a row. */
export function stringColumn(name: string, values: readonly string[]): NativeColumn {
  return { name, type: "String", rows: values.length, parts: [stringBytes(values)] };
}

/** An array of strings a row; see {@link arrayColumn}. */
export function stringArrayColumn(name: string, ends: Uint32Array, values: readonly string[]): NativeColumn {
  requireEnds(name, ends, values.length);
  return { name, type: "Array(String)", rows: ends.length, parts: [bytesOf(wide(ends)), stringBytes(values)] };
}

/**
 * Columns → the bytes of one Native block, as parts to be sent one after another; views of the columns' parts.
 * Throws an error when the columns differ in length.
 */
export function encodeNativeBlock(columns: readonly NativeColumn[]): Uint8Array[] {
  const rows = columns[0]?.rows ?? 0;
  const out: Uint8Array[] = [Uint8Array.from([...varint(columns.length), ...varint(rows)])];
  for (const column of columns) {
    if (column.rows !== rows) throw new Error(`column ${column.name} has ${column.rows} rows, wanted the ${rows} of ${columns[0]?.name}`);
    out.push(stringBytes([column.name, column.type]), ...column.parts);
  }
  return out;
}

/** The bytes of all parts in one array that owns its memory, so that it can be handed to another thread. */
export function joinParts(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.byteLength;
  }
  return joined;
}

function bytesOf(values: ArrayBufferView): Uint8Array {
  return new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
}

function wide(ends: Uint32Array): BigUint64Array {
  const wide = new BigUint64Array(ends.length);
  const halves = new Uint32Array(wide.buffer);
  for (let i = 0; i < ends.length; i++) halves[2 * i] = ends[i] as number;
  return wide;
}

function requireEnds(name: string, ends: Uint32Array, values: number): void {
  const last = ends.at(-1) ?? 0;
  if (last !== values) throw new Error(`column ${name} has ${values} values, wanted the ${last} that its last row ends at`);
}

function stringBytes(values: readonly string[]): Uint8Array {
  // A UTF-16 unit makes three bytes at most; a length prefix has five at most here.
  let bound = 0;
  for (const value of values) bound += 3 * value.length + 5;
  const bytes = new Uint8Array(bound);
  const encoder = new TextEncoder();
  let at = 0;
  for (const value of values) {
    const room = varint(3 * value.length).length;
    const { written } = encoder.encodeInto(value, bytes.subarray(at + room));
    const prefix = varint(written);
    if (prefix.length !== room) bytes.copyWithin(at + prefix.length, at + room, at + room + written);
    bytes.set(prefix, at);
    at += prefix.length + written;
  }
  return bytes.subarray(0, at);
}

/** LEB128. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}
