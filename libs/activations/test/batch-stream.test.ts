import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bf16FromF32, bytesFromF32, writeSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BatchStream, importRows, ShardSet, type ActivationSource, type BatchOptions, type RowFile } from "../src/index.ts";

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
  await using stream = new BatchStream(from, options);
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
      await using stream = new BatchStream(files, { batchRows: 12, bufferRows, seed: 7n });
      for (let batch = 0; batch < 37; batch += 1) await stream.takeAsync();
      cursor = stream.cursor.rowsServed;
      expect(stream.cursor).toMatchObject({ rowsServed: 444, epoch: 1 });
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
    expect(() => new BatchStream([files[0] as RowFile, { ...(files[1] as RowFile), width: 4 }], { batchRows: 4 })).toThrow("BF16 [n, 4]");
  });
});

describe("ShardSet", () => {
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

describe("importRows", () => {
  const values = Float32Array.from({ length: 12 }, (_, at) => at / 4);

  it.each(["F32", "F16", "BF16", "F64"] as const)("serves tensor x of a safetensors file of %s", async (dtype) => {
    const path = join(root, `${dtype}.safetensors`);
    const tensor = { dtype, shape: [3, 4], data: bytesFromF32(dtype, values) };
    await writeSafetensors(path, { a_first: { dtype: "U8", shape: [8], data: new Uint8Array(8) }, x: tensor });
    await using stream = new BatchStream([await importRows(path)], { batchRows: 3, shuffle: false });
    expect([...(await stream.takeAsync())]).toEqual([...values]);
  });

  it("serves an .npy file", async () => {
    const path = join(root, "a.npy");
    await writeFile(path, Buffer.concat([npyHeader("<f4", "(3, 4)"), Buffer.from(values.buffer)]));
    await using stream = new BatchStream([await importRows(path)], { batchRows: 3, shuffle: false });
    expect([...(await stream.takeAsync())]).toEqual([...values]);
    await truncate(path, 150);
    await expect(importRows(path)).rejects.toThrow("does not fit its shape");
  });

  it.each([["<i8", "(3, 4)", "<i8"], ["<f4", "(12,)", "[12]"]])("refuses an .npy file of %s %s", async (descr, shape, got) => {
    const path = join(root, "b.npy");
    await writeFile(path, Buffer.concat([npyHeader(descr, shape), Buffer.from(values.buffer)]));
    await expect(importRows(path)).rejects.toMatchObject({ got });
  });

  it("names the tensors there are when x is missing, and the shape when it is no matrix", async () => {
    const path = join(root, "odd.safetensors");
    await writeSafetensors(path, { y: { dtype: "F32", shape: [12], data: bytesFromF32("F32", values) } });
    await expect(importRows(path)).rejects.toMatchObject({ file: path, field: "x", got: "y" });
    await expect(importRows(path, "y")).rejects.toMatchObject({ got: "[12]", wanted: "[rows, d_in]" });
  });
});

function npyHeader(descr: string, shape: string): Buffer {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117) + "\n";
  const start = Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, text.length & 255, text.length >> 8]);
  return Buffer.concat([start, Buffer.from(text)]);
}
