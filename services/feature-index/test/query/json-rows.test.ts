import { describe, expect, it } from "vitest";
import { parseJsonRows } from "../../src/query/json-rows.ts";

async function* chunks(text: string, size: number): AsyncIterable<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const META = '{"meta":[{"name":"a","type":"UInt8"}]}\n';

async function read(text: string, limit = Infinity, size = 5) {
  const pieces = [];
  for await (const piece of parseJsonRows(chunks(text, size), limit)) pieces.push(piece);
  return { text: pieces.map(({ data }) => new TextDecoder().decode(data)).join(""), n: pieces.reduce((sum, { nRows }) => sum + nRows, 0), columns: pieces[0]?.columns };
}

describe("parseJsonRows", () => {
  it("keeps the rows alone, and the columns in the first piece", async () => {
    const text = `{"progress":{"read_rows":"9"}}\n${META}{"row":{"a":1}}\n{"row":{"a":"}\\n☃"}}\n{"rows_before_limit_at_least":10}\n`;
    expect(await read(text)).toEqual({ text: '{"a":1}\n{"a":"}\\n☃"}\n', n: 2, columns: [{ name: "a", type: "UInt8" }] });
  });

  it("tells the columns of a result without rows", async () => {
    expect(await read(META)).toEqual({ text: "", n: 0, columns: [{ name: "a", type: "UInt8" }] });
  });

  it("stops after the rows asked for", async () => {
    const { n } = await read(META + '{"row":{"a":1}}\n'.repeat(50), 7, 1_000);
    expect(n).toBe(7);
  });
});
