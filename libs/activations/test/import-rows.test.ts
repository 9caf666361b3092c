import { mkdir, mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bf16FromF32, bytesFromF32, writeSafetensors } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BatchStream, cutAlike, importRows, storedRows } from "../src/index.ts";

const values = Float32Array.from({ length: 12 }, (_, at) => at / 4);
let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "imports-"));
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

async function rowsAt(uri: string, rows = 3): Promise<number[]> {
  await using stream = new BatchStream(storedRows((await importRows(uri)).files), { batchRows: rows, shuffle: false });
  return [...(await stream.takeAsync())];
}

/** A header as numpy.lib.format writes it. */
function npy(descr: string, shape: string, data: Uint8Array, { version = 1, order = "False" } = {}): Buffer {
  const type = descr.startsWith("[") ? descr : `'${descr}'`;
  const text = `${`{'descr': ${type}, 'fortran_order': ${order}, 'shape': ${shape}, }`.padEnd(117 - (version > 1 ? 2 : 0))}\n`;
  const length = version === 1 ? [text.length & 255, text.length >> 8] : [text.length & 255, text.length >> 8, 0, 0];
  return Buffer.concat([Buffer.from([0x93, ...Buffer.from("NUMPY"), version, 0, ...length]), Buffer.from(text), data]);
}

const bytes = (array: ArrayBufferView): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

describe("importRows of safetensors", () => {
  it.each(["F32", "F16", "BF16", "F64"] as const)("serves tensor x of a file of %s", async (dtype) => {
    const path = join(root, `${dtype}.safetensors`);
    const tensor = { dtype, shape: [3, 4], data: bytesFromF32(dtype, values) };
    await writeSafetensors(path, { a_first: { dtype: "U8", shape: [8], data: new Uint8Array(8) }, x: tensor });
    expect(await rowsAt(path)).toEqual([...values]);
  });

  it("takes the only matrix whatever its name, and asks when there are several", async () => {
    const path = join(root, "named.safetensors");
    const matrix = { dtype: "F32" as const, shape: [3, 4], data: bytesFromF32("F32", values) };
    await writeSafetensors(path, { acts: matrix, bias: { ...matrix, shape: [12] } });
    expect(await rowsAt(path)).toEqual([...values]);
    await writeSafetensors(path, { acts: matrix, more: matrix });
    await expect(importRows(path)).rejects.toMatchObject({ file: path, field: "tensor", got: expect.stringContaining("acts F32 [3, 4]") });
    expect((await importRows(path, "more")).rows).toBe(3);
  });

  it("names the tensors there are when the one asked for is missing, and the shape when it is no matrix", async () => {
    const path = join(root, "odd.safetensors");
    await writeSafetensors(path, { y: { dtype: "F32", shape: [12], data: bytesFromF32("F32", values) } });
    await expect(importRows(path, "x")).rejects.toMatchObject({ file: path, field: "x", got: "y" });
    await expect(importRows(path, "y")).rejects.toMatchObject({ got: "[12]", wanted: "[rows, d_in]" });
  });
});

describe("importRows of npy", () => {
  it.each([
    ["<f4", bytes(values), 1],
    ["<f4", bytes(values), 2],
    ["<f4", bytes(values), 3],
    ["<f2", bytes(new Float16Array(values)), 1],
    ["<V2", bytes(bf16FromF32(values, new Uint16Array(12))), 1],
    ["|V2", bytes(bf16FromF32(values, new Uint16Array(12))), 1],
    ["<f8", bytes(Float64Array.from(values)), 1],
  ])("serves %s of version %#", async (descr, data, version) => {
    const path = join(root, "a.npy");
    await writeFile(path, npy(descr, "(3, 4)", data, { version }));
    expect(await rowsAt(path)).toEqual([...values]);
  });

  it.each([
    ["descr", "<i8", "(3, 4)", "False", "<i8"],
    ["descr", ">f4", "(3, 4)", "False", ">f4 (big-endian)"],
    ["descr", "|O", "(3, 4)", "False", "|O (Python objects, which are never loaded)"],
    ["descr", "[('a', '<f4')]", "(3, 4)", "False", "several fields"],
    ["fortran_order", "<f4", "(3, 4)", "True", "True"],
    ["shape", "<f4", "(12,)", "False", "[12]"],
    ["shape", "<f4", "(3, 5)", "False", "176 bytes"],
    ["shape", "<f4", "(999999999999, 999999999999)", "False", "176 bytes"],
  ])("refuses a file by its %s: %s %s %s", async (field, descr, shape, order, got) => {
    const path = join(root, "b.npy");
    await writeFile(path, npy(descr, shape, bytes(values), { order }));
    await expect(importRows(path)).rejects.toMatchObject({ name: "InputError", file: path, field, got });
  });

  it("refuses a file that is cut anywhere, or whose header is no header", async () => {
    const path = join(root, "cut.npy");
    const whole = npy("<f4", "(3, 4)", bytes(values));
    for (let length = 0; length < whole.length; length += 1) {
      await writeFile(path, whole);
      await truncate(path, length);
      await expect(importRows(path)).rejects.toMatchObject({ name: "InputError", file: path });
    }
    for (const header of ["{}", "{'descr': '<f4'}", "__import__('os')", `{${" ".repeat(9000)}`]) {
      const text = header.padEnd(118);
      await writeFile(path, Buffer.concat([Buffer.from([0x93, ...Buffer.from("NUMPY"), 1, 0, text.length & 255, text.length >> 8]), Buffer.from(text)]));
      await expect(importRows(path)).rejects.toMatchObject({ file: path, field: "header" });
    }
  });
});

describe("importRows of several files", () => {
  it("reads a folder or a glob in the order of names", async () => {
    const folder = join(root, "several");
    await mkdir(folder);
    for (const [at, name] of ["b.npy", "a.npy", "notes.txt", ".hidden.npy"].entries()) await writeFile(join(folder, name), npy("<f4", "(1, 2)", bytes(Float32Array.of(at, at))));
    expect(await rowsAt(folder, 2)).toEqual([1, 1, 0, 0]);
    expect(await rowsAt(join(folder, "?.npy"), 2)).toEqual([1, 1, 0, 0]);
    await writeFile(join(folder, "c.npy"), npy("<f4", "(1, 3)", bytes(Float32Array.of(1, 2, 3))));
    await expect(importRows(folder)).rejects.toMatchObject({ file: join(folder, "c.npy"), got: "F32 [n, 3]" });
    await expect(importRows(join(folder, "notes.txt"))).rejects.toMatchObject({ got: ".txt" });
    await expect(importRows(join(folder, "z*.npy"))).rejects.toMatchObject({ field: "uri" });
    await expect(importRows("")).rejects.toMatchObject({ field: "uri" });
  });

  it("cuts two lists at the same rows", async () => {
    const folder = join(root, "pairs");
    await mkdir(folder);
    const file = async (name: string, from: number, rows: number): Promise<void> => writeFile(join(folder, name), npy("<f4", `(${rows}, 1)`, bytes(Float32Array.from({ length: rows }, (_, at) => from + at))));
    await file("in-0.npy", 0, 7);
    await file("in-1.npy", 7, 5);
    await file("out-0.npy", 100, 3);
    await file("out-1.npy", 103, 9);
    const columns = await Promise.all(["in-*.npy", "out-*.npy"].map((pattern) => importRows(join(folder, pattern))));
    const cut = cutAlike(columns, 4);
    expect(cut.map((files) => files.map(({ rows }) => rows))).toEqual([[3, 1, 3, 4, 1], [3, 1, 3, 4, 1]]);
    await using stream = new BatchStream(storedRows(...cut), { batchRows: 12, shuffle: false });
    expect([...(await stream.takeAsync())]).toEqual(Array.from({ length: 12 }, (_, row) => [row, 100 + row]).flat());
    await file("out-1.npy", 103, 8);
    await expect(async () => cutAlike(await Promise.all(["in-*.npy", "out-*.npy"].map((pattern) => importRows(join(folder, pattern)))), 4)).rejects.toThrow("got 11 rows, wanted 12 rows");
  });
});
