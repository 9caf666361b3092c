import { mkdtemp, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bf16FromF32 } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BatchStream, ShardSet, storedRows, type ActivationSource, type BatchOptions, type RowFile } from "../src/index.ts";

const width = 8;
const source: ActivationSource = { modelDigest: "m", hookName: "blocks.2.hook_resid_pre", corpus: "c", contextSize: 128, dtype: "BF16", width, shardTokens: 100, documents: "trained-on" };
let root: string;
let files: RowFile[];

/** Rows whose every value is the row's number in the whole set; exact in bf16 up to 256. */
function numbered(start: number, rows: number): Uint8Array {
  const values = Float32Array.from({ length: rows * width }, (_, at) => start + Math.floor(at / width));
  return new Uint8Array(bf16FromF32(values, new Uint16Array(values.length)).buffer);
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "activations-"));
  const set = await ShardSet.open({ kind: "fs", root }, source, { corpusUri: "test" });
  files = [];
  let rowStart = 0;
  for (const [index, rows] of [70, 50, 90, 40].entries()) {
    const places = { documents: new Uint32Array(rows).fill(index), positions: Uint32Array.from({ length: rows }, (_, at) => at) };
    const record = await set.write({ index, rows, rowStart, documentStart: index * 10, documentEnd: index * 10 + 10 }, numbered(rowStart, rows), places);
    files.push(set.rowFile(record));
    rowStart += rows;
  }
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

async function serve(options: Partial<BatchOptions> & Pick<BatchOptions, "batchRows">, batches: number, from: readonly RowFile[] = files): Promise<number[]> {
  await using stream = new BatchStream(storedRows(from), options);
  const rows: number[] = [];
  for (let batch = 0; batch < batches; batch += 1) {
    const values = await stream.takeAsync();
    expect(values.length).toBe(options.batchRows * width);
    for (let at = 0; at < values.length; at += width) {
      expect(new Set(values.subarray(at, at + width)).size).toBe(1);
      rows.push(values[at] ?? -1);
    }
  }
  return rows;
}

describe("BatchStream", () => {
  it.each([["a full permutation", Infinity], ["groups of shards", 190]])("serves every row once an epoch, in full batches, with %s", async (_, bufferRows) => {
    const rows = await serve({ batchRows: 16, bufferRows, seed: 1n }, 63);
    for (const epoch of [0, 1, 2, 3]) expect(new Set(rows.slice(epoch * 250, (epoch + 1) * 250)).size).toBe(250);
    expect(rows.slice(0, 250)).not.toEqual(rows.slice(250, 500));
    expect(rows.slice(0, 250)).not.toEqual(Array.from({ length: 250 }, (_, row) => row));
  });

  it.each([Infinity, 190])("goes on bit by bit from a cursor with a buffer of %i rows", async (bufferRows) => {
    const undisturbed = await serve({ batchRows: 12, bufferRows, seed: 7n }, 70);
    let cursor = 0;
    {
      await using stream = new BatchStream(storedRows(files), { batchRows: 12, bufferRows, seed: 7n });
      for (let batch = 0; batch < 37; batch += 1) await stream.takeAsync();
      cursor = stream.rowsServed;
      expect(cursor).toBe(444);
    }
    const resumed = await serve({ batchRows: 12, bufferRows, seed: 7n, startRow: cursor }, 33);
    expect(resumed).toEqual(undisturbed.slice(444));
  });

  it("reads in order without shuffling, past the end of the files", async () => {
    const rows = await serve({ batchRows: 100, shuffle: false }, 3);
    expect(rows).toEqual(Array.from({ length: 300 }, (_, row) => row % 250));
  });

  it("passes the reason on when a file is missing", async () => {
    const gone = { ...(files[0] as RowFile), key: "gone.rows" };
    await expect(serve({ batchRows: 4 }, 1, [gone])).rejects.toMatchObject({ name: "InputError", message: expect.stringContaining("gone.rows") });
  });

  it("refuses rows whose checksum is wrong", async () => {
    const damaged = { ...(files[0] as RowFile), sha256: "0".repeat(64) };
    await expect(serve({ batchRows: 4 }, 1, [damaged])).rejects.toMatchObject({ name: "InputError", field: "sha256", wanted: "0".repeat(64) });
  });

  it("refuses files of different widths", () => {
    expect(() => storedRows([files[0] as RowFile, { ...(files[1] as RowFile), width: 4 }])).toThrow("BF16 [n, 4]");
  });
});

describe("rows of several parts", () => {
  it("lie side by side in one order", async () => {
    const narrow = files.map((file) => ({ ...file, width: width / 2, rows: file.rows }));
    const whole = await ShardSet.open({ kind: "fs", root }, { ...source, dtype: "F32", hookName: "other" });
    const other: RowFile[] = [];
    for (const [index, { rows }] of files.entries()) {
      const rowStart = files.slice(0, index).reduce((sum, file) => sum + file.rows, 0);
      const values = Float32Array.from({ length: rows * width }, (_, at) => rowStart + Math.floor(at / width) + 1000);
      const places = { documents: new Uint32Array(rows), positions: new Uint32Array(rows) };
      other.push(whole.rowFile(await whole.write({ index, rows, rowStart, documentStart: index, documentEnd: index + 1 }, new Uint8Array(values.buffer), places)));
    }
    await using stream = new BatchStream(storedRows(files, other), { batchRows: 10, seed: 1n, bufferRows: 190 });
    expect(stream.width).toBe(2 * width);
    const seen = new Set<number>();
    for (let batch = 0; batch < 25; batch += 1) {
      const rows = await stream.takeAsync();
      for (let at = 0; at < rows.length; at += 2 * width) {
        const first = rows[at] ?? -1;
        seen.add(first);
        expect([...rows.subarray(at, at + 2 * width)]).toEqual([...Array.from({ length: width }, () => first), ...Array.from({ length: width }, () => first + 1000)]);
      }
    }
    expect(seen.size).toBe(250);
    expect(() => storedRows(files, narrow.slice(1))).toThrow("inputs and outputs have different rows");
  });
});

describe("ShardSet", () => {
  it("keeps the record of a shard that was dropped and tells that its rows are gone", async () => {
    const set = await ShardSet.open({ kind: "fs", root }, { ...source, corpus: "dropped" });
    for (const index of [0, 1, 2]) {
      await set.write({ index, rows: 4, rowStart: index * 4, documentStart: index, documentEnd: index + 1 }, numbered(0, 4), { documents: new Uint32Array(4), positions: new Uint32Array(4) });
    }
    await set.drop(1);
    const records = await set.records();
    expect(records.map(({ index }) => index)).toEqual([0, 1, 2]);
    expect(await Promise.all(records.map((record) => set.isStored(record)))).toEqual([true, false, true]);
    expect(await set.finished()).toHaveLength(1);
    await truncate(join(root, set.rowsKey(2)), 50);
    expect(await set.isStored(records[2] as NonNullable<(typeof records)[2]>)).toBe(false);
    await set.remove();
    expect(await set.records()).toEqual([]);
  });

  it("counts the finished shards up to the first gap and up to the rows wanted", async () => {
    const set = await ShardSet.open({ kind: "fs", root }, source);
    expect((await set.finished()).map((record) => record.rows)).toEqual([70, 50, 90, 40]);
    expect(await set.finished(71)).toHaveLength(2);
    expect(await set.end()).toBeUndefined();
  });

  it("keeps the document and the position of every row", async () => {
    const set = await ShardSet.open({ kind: "fs", root }, source);
    const [, second] = await set.finished();
    const places = await set.places(second as NonNullable<typeof second>);
    expect([...places.documents]).toEqual(Array.from({ length: 50 }, () => 1));
    expect(places.positions[49]).toBe(49);
  });

  it("gives every source a folder of its own", async () => {
    const other = await ShardSet.open({ kind: "fs", root }, { ...source, hookName: "blocks.3.hook_resid_pre" });
    expect(await other.finished()).toEqual([]);
  });

  it("refuses rows that do not fill the shard", async () => {
    const set = await ShardSet.open({ kind: "fs", root }, { ...source, corpus: "other" });
    const places = { documents: new Uint32Array(2), positions: new Uint32Array(2) };
    await expect(set.write({ index: 0, rows: 2, rowStart: 0, documentStart: 0, documentEnd: 1 }, new Uint8Array(31), places)).rejects.toThrow("got 31 bytes, wanted 32 bytes");
  });
});
