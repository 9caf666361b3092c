import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InputError, openSafetensors, tensorOf, writeSafetensors } from "../../src/index.ts";
import { fileBytes } from "./bytes.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tensor-reader-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

describe("a safetensors file", () => {
  test("gives dtype, shape and absolute place of its tensors, and its metadata", async () => {
    const path = join(folder, "places.safetensors");
    const header = { __metadata__: { format: "pt" }, a: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16] }, b: { dtype: "U8", shape: [], data_offsets: [16, 17] } };
    await writeFile(path, fileBytes(header, new Uint8Array(17).fill(7)));
    await using file = await openSafetensors(path);
    const start = 8 + JSON.stringify(header).length;
    expect(file.metadata).toEqual({ format: "pt" });
    expect(file.tensors.get("a")).toEqual({ name: "a", file: path, dtype: "F32", shape: [2, 2], offset: start, length: 16 });
    expect(file.tensors.get("b")).toMatchObject({ offset: start + 16, length: 1, shape: [] });
    expect((await file.read("b")).data).toEqual(Uint8Array.of(7));
  });

  test("reads rows by range, converted from any float type into a given array", async () => {
    const path = join(folder, "rows.safetensors");
    const values = Float32Array.from({ length: 900_000 }, (_, i) => (i % 251) - 125);
    await writeSafetensors(path, { f32: tensorOf(values, [300_000, 3]), f16: tensorOf(new Float16Array(values), [300_000, 3]), f64: tensorOf(new Float64Array(values), [300_000, 3]) });
    await using file = await openSafetensors(path);
    for (const name of ["f32", "f16", "f64"]) {
      expect(await file.readF32(name)).toEqual(values);
      const target = new Float32Array(6);
      expect(await file.readF32(name, { rows: { start: 299_998, end: 300_000 }, target })).toBe(target);
      expect(target).toEqual(values.slice(-6));
    }
    expect((await file.read("f16", { rows: { start: 1, end: 1 } })).shape).toEqual([0, 3]);
  });

  test("refuses requests that do not fit it", async () => {
    const path = join(folder, "requests.safetensors");
    await writeSafetensors(path, { x: tensorOf(new Float32Array(6), [2, 3]), n: tensorOf(BigInt64Array.of(1n), []) });
    await using file = await openSafetensors(path);
    await expect(file.read("y")).rejects.toThrow(/no tensor "y".*got x, n|got n, x/);
    await expect(file.readF32("n")).rejects.toThrow(/n\.dtype; got I64, wanted F32/);
    await expect(file.read("x", { rows: { start: 1, end: 3 } })).rejects.toThrow(/got rows 1 to 3, wanted within 0 to 2/);
    await expect(file.read("n", { rows: { start: 0, end: 1 } })).rejects.toThrow(/scalar/);
    await expect(file.readF32("x", { target: new Float32Array(5) })).rejects.toThrow(/got 5 elements, wanted 6 elements/);
  });
});

describe("a lying safetensors file is refused naming file, field, got and wanted", () => {
  const x = (extra: object): object => ({ x: { dtype: "F32", shape: [2], data_offsets: [0, 8], ...extra } });
  const cases: [string, Uint8Array, RegExp][] = [
    ["cut inside the length", Uint8Array.of(1, 2, 3), /header length; got 3 bytes, wanted at least 8/],
    ["header beyond the file", fileBytes("{}", undefined, 99n), /header length; got 99, wanted at most 2/],
    ["header of 2^63 bytes", fileBytes("{}", undefined, 1n << 63n), /got 9223372036854775808/],
    ["not UTF-8", (() => { const bytes = fileBytes('{"a":1}'); bytes[10] = 0xff; return bytes; })(), /not UTF-8/],
    ["not JSON", fileBytes('{"x":'), /not JSON/],
    ["not an object", fileBytes("[1]"), /does not start with \{/],
    ["a name twice", fileBytes('{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"\\u0078":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', new Uint8Array(8)), /names "x" twice/],
    ["a key twice", fileBytes('{"x":{"dtype":"F32","shape":[9],"shape":[2],"data_offsets":[0,8]}}', new Uint8Array(8)), /names "shape" twice/],
    ["unknown dtype", fileBytes(x({ dtype: "F7" }), new Uint8Array(8)), /x\.dtype; got F7, wanted F64, /],
    ["dtype off the prototype", fileBytes(x({ dtype: "toString" }), new Uint8Array(8)), /x\.dtype; got toString/],
    ["unknown key", fileBytes(x({ stride: 1 }), new Uint8Array(8)), /x\.stride/],
    ["negative size", fileBytes(x({ shape: [-2] }), new Uint8Array(8)), /x\.shape; got \[-2\]/],
    ["fractional size", fileBytes(x({ shape: [1.5] }), new Uint8Array(8)), /x\.shape; got \[1\.5\]/],
    ["size and shape differ", fileBytes(x({ shape: [3] }), new Uint8Array(8)), /got 8 bytes, wanted 12 bytes/],
    ["a product beyond every number", fileBytes(x({ shape: [9e15, 9e15, 9e15] }), new Uint8Array(8)), /data_offsets; got 8 bytes/],
    ["offsets reversed", fileBytes(x({ data_offsets: [8, 0] }), new Uint8Array(8)), /got \[8,0\], wanted 0 ≤ begin/],
    ["offsets beyond the end (a truncated file)", fileBytes(x({}), new Uint8Array(7)), /got \[0,8\], wanted 0 ≤ begin ≤ end ≤ 7/],
    ["a file cut off in its header", fileBytes(x({}), new Uint8Array(8)).subarray(0, 20), /ends within its safetensors header; was it downloaded whole/],
    ["a Git LFS pointer", new TextEncoder().encode(`version https://git-lfs.example/spec/v1\noid sha256:${"0".repeat(64)}\nsize 4321\n`), /Git LFS pointer.*git lfs pull.*wanted the file of 4321 bytes/],
    ["an overlap", fileBytes({ ...x({}), y: { dtype: "F32", shape: [1], data_offsets: [4, 8] } }, new Uint8Array(8)), /"y" overlaps.*got begin 4, wanted begin 8/],
    ["a gap", fileBytes({ ...x({}), y: { dtype: "F32", shape: [1], data_offsets: [12, 16] } }, new Uint8Array(16)), /"y" leaves a gap.*got begin 12, wanted begin 8/],
    ["bytes after the last tensor", fileBytes(x({}), new Uint8Array(12)), /got 12 bytes, wanted 8 bytes/],
    ["metadata that is not text", fileBytes({ __metadata__: { a: 1 }, ...x({}) }, new Uint8Array(8)), /__metadata__\.a; got 1, wanted a string/],
  ];
  test.each(cases)("%s", async (name, bytes, message) => {
    const path = join(folder, `${name.replaceAll(/\W/g, "-")}.safetensors`);
    await writeFile(path, bytes);
    const error: unknown = await openSafetensors(path).then(() => undefined, (reason: unknown) => reason);
    expect(error).toBeInstanceOf(InputError);
    expect(error).toMatchObject({ file: path, message: expect.stringMatching(message) });
  });

  test("a missing file and a folder", async () => {
    await expect(openSafetensors(join(folder, "nowhere"))).rejects.toThrow(/no such file/);
    await expect(openSafetensors(folder)).rejects.toThrow(/not a regular file/);
  });
});
