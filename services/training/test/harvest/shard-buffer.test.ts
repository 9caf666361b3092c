import { describe, expect, it } from "vitest";
import { ShardBuffer } from "../../src/harvest/shard-buffer.ts";
import { windowsOfDocument } from "../../src/harvest/token-windows.ts";

const ids = (count: number): Uint32Array => Uint32Array.from({ length: count }, (_, at) => at + 10);

describe("windowsOfDocument", () => {
  it("puts BOS before each window and marks it", () => {
    const windows = windowsOfDocument(7, { ids: ids(5), special: undefined }, { contextSize: 4, bosTokenId: 1 });
    expect(windows.map((window) => [[...window.ids], [...window.special], window.position])).toEqual([
      [[1, 10, 11, 12], [1, 0, 0, 0], 0],
      [[1, 13, 14], [1, 0, 0], 3],
    ]);
  });

  it("marks special tokens of the document", () => {
    const [window] = windowsOfDocument(0, { ids: ids(3), special: Uint8Array.from([0, 1, 0]) }, { contextSize: 8, bosTokenId: 1 });
    expect([...(window?.special ?? [])]).toEqual([1, 0, 1, 0]);
  });

  it("adds nothing for a model without BOS", () => {
    const [window] = windowsOfDocument(0, { ids: ids(3), special: undefined }, { contextSize: 8, bosTokenId: undefined });
    expect([...(window?.ids ?? [])]).toEqual([10, 11, 12]);
  });
});

describe("ShardBuffer", () => {
  const options = { contextSize: 5, bosTokenId: 1 };
  const windows = [
    ...windowsOfDocument(3, { ids: ids(6), special: Uint8Array.from([0, 1, 0, 0, 0, 0]) }, options),
    ...windowsOfDocument(5, { ids: ids(2), special: undefined }, options),
  ];
  const shard = (): ShardBuffer => ShardBuffer.filling({ index: 0, rowStart: 0, documentStart: 3, documentEnd: 6, windows }, [{ hookName: "narrow", rowBytes: 2 }, { hookName: "wide", rowBytes: 4 }]);

  /** Two bytes a row: the window's number and the position. */
  const rows = (window: number, start: number, count: number): Uint8Array => Uint8Array.from({ length: count * 2 }, (_, at) => (at % 2 === 0 ? window : start + (at >> 1)));
  const put = (buffer: ShardBuffer, prompt: number, start: number, bytes: Uint8Array, firstWindow: number): void => buffer.put({ prompt, hookName: "narrow", start, bytes }, firstWindow);

  it("keeps the rows that count, in the order of the corpus, however they arrive", () => {
    const buffer = shard();
    put(buffer, 2, 0, rows(2, 0, 3), 0);
    put(buffer, 0, 3, rows(1, 3, 0), 1);
    put(buffer, 0, 0, rows(1, 0, 3), 1);
    put(buffer, 0, 2, rows(0, 2, 3), 0);
    put(buffer, 0, 0, rows(0, 0, 2), 0);
    expect(buffer.rows).toBe(7);
    expect([...buffer.bytesOf("narrow")]).toEqual([0, 1, 0, 3, 0, 4, 1, 1, 1, 2, 2, 1, 2, 2]);
  });

  it("keeps the rows of each hook apart, each in its own width", () => {
    const buffer = shard();
    buffer.put({ prompt: 2, hookName: "wide", start: 1, bytes: Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]) }, 0);
    put(buffer, 2, 1, Uint8Array.from([9, 9, 8, 8]), 0);
    expect(buffer.hookNames).toEqual(["narrow", "wide"]);
    expect([...buffer.bytesOf("wide")]).toEqual([...Array.from({ length: 20 }, () => 0), 1, 2, 3, 4, 5, 6, 7, 8]);
    expect([...buffer.bytesOf("narrow")]).toEqual([...Array.from({ length: 10 }, () => 0), 9, 9, 8, 8]);
    expect(() => buffer.bytesOf("other")).toThrow("takes no rows of other");
  });

  it("says where each row comes from", () => {
    const { documents, positions } = shard().places();
    expect([...documents]).toEqual([3, 3, 3, 3, 3, 5, 5]);
    expect([...positions]).toEqual([0, 2, 3, 4, 5, 0, 1]);
  });
});
