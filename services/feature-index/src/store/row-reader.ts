import { BF16 } from "../building/value-counts.ts";

/** The row that a RowReader stands at; each call reads the next value. */
export interface RowCursor {
  u8(): number;
  u16(): number;
  u32(): number;
  /** UInt64; exact up to 2^53. */
  u64(): number;
  f32(): number;
  f64(): number;
  /** String, or LowCardinality(String). */
  text(): string;
  /** Nullable(T). */
  nullable<T>(read: () => T): T | null;
  /** The bytes of an array of values `width` bytes wide; a view that is valid while the row is handled. */
  array(width: number): Uint8Array;
  /** Array(T) of what `read` reads. */
  list<T>(read: () => T): T[];
  /** A String that holds values of its own, of what `read` reads. */
  packed<T>(read: () => T): T;
  u16s(): number[];
  u32s(): number[];
  f32s(): number[];
  /** Array(BFloat16). */
  bf16s(): number[];
}

/** Thrown by a cursor whose row is not all there yet. */
const INCOMPLETE = Symbol("incomplete row");

/**
 * Reads rows of ClickHouse's RowBinary format from chunks that are cut anywhere.
 * https://clickhouse.com/docs/interfaces/formats/RowBinary
 */
export class RowReader {
  readonly #handle: (row: RowCursor) => void;
  readonly #cursor: Cursor = new Cursor();

  /** `handle` reads all values of one row; it is called again from the row's start when the row was cut. */
  constructor(handle: (row: RowCursor) => void) {
    this.#handle = handle;
  }

  push(chunk: Uint8Array): void {
    const cursor = this.#cursor;
    cursor.append(chunk);
    while (cursor.at < cursor.bytes.length) {
      const start = cursor.at;
      try {
        this.#handle(cursor);
      } catch (error) {
        if (error !== INCOMPLETE) throw error;
        cursor.at = start;
        return;
      }
    }
  }

  /** Throws when the last row was cut off. */
  end(): void {
    const left = this.#cursor.bytes.length - this.#cursor.at;
    if (left > 0) throw new Error(`the result ended within a row, ${left} bytes into it`);
  }
}

class Cursor implements RowCursor {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;

  append(chunk: Uint8Array): void {
    const next = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.bytes = this.at === this.bytes.length ? next : Buffer.concat([this.bytes.subarray(this.at), next]);
    this.at = 0;
  }

  u8(): number {
    return this.bytes[this.#take(1)] as number;
  }

  u16(): number {
    return this.bytes.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.bytes.readUInt32LE(this.#take(4));
  }

  u64(): number {
    return Number(this.bytes.readBigUInt64LE(this.#take(8)));
  }

  f32(): number {
    return this.bytes.readFloatLE(this.#take(4));
  }

  f64(): number {
    return this.bytes.readDoubleLE(this.#take(8));
  }

  text(): string {
    const length = this.#length();
    const start = this.#take(length);
    return this.bytes.toString("utf8", start, start + length);
  }

  nullable<T>(read: () => T): T | null {
    return this.u8() === 1 ? null : read();
  }

  array(width: number): Uint8Array {
    const length = this.#length() * width;
    const start = this.#take(length);
    return this.bytes.subarray(start, start + length);
  }

  list<T>(read: () => T): T[] {
    const length = this.#length();
    const values: T[] = [];
    for (let i = 0; i < length; i++) values.push(read());
    return values;
  }

  packed<T>(read: () => T): T {
    const length = this.#length();
    const end = this.at + length;
    if (end > this.bytes.length) throw INCOMPLETE;
    const value = read();
    if (this.at !== end) throw new Error(`a packed value of ${length} bytes was read ${Math.abs(this.at - end)} bytes too ${this.at > end ? "far" : "short"}`);
    return value;
  }

  u16s(): number[] {
    return this.list(() => this.u16());
  }

  u32s(): number[] {
    return this.list(() => this.u32());
  }

  f32s(): number[] {
    return this.list(() => this.f32());
  }

  bf16s(): number[] {
    return this.u16s().map((bits) => BF16[bits] as number);
  }

  #length(): number {
    let length = 0;
    for (let shift = 1, more = true; more; shift *= 128) {
      const byte = this.u8();
      length += (byte & 127) * shift;
      more = byte > 127;
    }
    return length;
  }

  #take(n: number): number {
    const start = this.at;
    if (start + n > this.bytes.length) throw INCOMPLETE;
    this.at = start + n;
    return start;
  }
}
