/** The row that a RowReader stands at; each call reads the next value. */
export interface RowCursor {
  u8(): number;
  u32(): number;
  /** The bytes of an array of values `width` bytes wide; a view that is valid while the row is handled. */
  array(width: number): Uint8Array;
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

  u32(): number {
    return this.bytes.readUInt32LE(this.#take(4));
  }

  array(width: number): Uint8Array {
    let length = 0;
    for (let shift = 1, more = true; more; shift *= 128) {
      const byte = this.u8();
      length += (byte & 127) * shift;
      more = byte > 127;
    }
    const start = this.#take(length * width);
    return this.bytes.subarray(start, start + length * width);
  }

  #take(n: number): number {
    const start = this.at;
    if (start + n > this.bytes.length) throw INCOMPLETE;
    this.at = start + n;
    return start;
  }
}
