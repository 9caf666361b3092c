import { describe, expect, it } from "vitest";
import { RowReader } from "../../src/store/row-reader.ts";

/** Rows of (u32, array of u16) as ClickHouse writes them. */
function encode(rows: readonly (readonly [number, readonly number[]])[]): Buffer {
  return Buffer.concat(
    rows.map(([id, values]) => {
      const head = Buffer.alloc(4);
      head.writeUInt32LE(id);
      const length = values.length < 128 ? [values.length] : [(values.length & 127) | 128, values.length >> 7];
      return Buffer.concat([head, Buffer.from(length), Buffer.from(Uint16Array.from(values).buffer)]);
    }),
  );
}

describe("RowReader", () => {
  const rows = [[1, []], [4_000_000_000, [7, 65_535]], [3, Array.from({ length: 300 }, (_, i) => i)]] as const;

  it.each([1, 3, 7, 100, 10_000])("reads rows from chunks of %i bytes", (size) => {
    const bytes = encode(rows);
    const found: [number, number[]][] = [];
    const reader = new RowReader((row) => {
      const id = row.u32();
      const array = new Uint8Array(row.array(2));
      found.push([id, [...new Uint16Array(array.buffer)]]);
    });
    for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
    reader.end();
    expect(found).toEqual(rows.map(([id, values]) => [id, [...values]]));
  });

  it("says when the last row is cut off", () => {
    const reader = new RowReader((row) => void row.u32());
    reader.push(Uint8Array.of(1, 2, 3));
    expect(() => reader.end()).toThrow("ended within a row, 3 bytes into it");
  });
});
