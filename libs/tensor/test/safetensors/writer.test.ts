import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf, openSafetensors, SafetensorsWriter, sha256File, tensorOf, writeSafetensors } from "../../src/index.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tensor-writer-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

describe("writing safetensors", () => {
  test("gives the hash of the bytes, whatever the order of the tensors, and aligns them all", async () => {
    const one = tensorOf(Uint8Array.of(1, 2, 3));
    const two = tensorOf(Float64Array.of(1));
    const three = tensorOf(Float32Array.of(1));
    const hash = await writeSafetensors(join(folder, "a.safetensors"), { one, two, three }, { k: "é" });
    expect(await writeSafetensors(join(folder, "b.safetensors"), { three, two, one }, { k: "é" })).toBe(hash);
    expect(await sha256File(join(folder, "a.safetensors"))).toBe(hash);
    await using file = await openSafetensors(join(folder, "a.safetensors"));
    expect([...file.tensors.values()].map(({ name, offset }) => [name, offset % 8])).toEqual([["two", 0], ["three", 0], ["one", 4]]);
    expect(file.metadata).toEqual({ k: "é" });
  });

  test("streams a tensor from pieces", async () => {
    const path = join(folder, "streamed.safetensors");
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 4; i++) yield bytesOf(Float32Array.of(i, i + 0.5));
    }
    await writeSafetensors(path, { x: { dtype: "F32", shape: [4, 2], chunks: pieces() } });
    await using file = await openSafetensors(path);
    expect(await file.readF32("x")).toEqual(Float32Array.of(0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5));
  });

  test("leaves nothing behind when the pieces do not fill the shape", async () => {
    const path = join(folder, "short/x.safetensors");
    await expect(writeSafetensors(path, { x: { dtype: "F32", shape: [3], chunks: [new Uint8Array(8)] } })).rejects.toThrow(/got 8 bytes, wanted 12 bytes/);
    await expect(writeSafetensors(path, { x: { dtype: "F32", shape: [1], chunks: [new Uint8Array(8)] } })).rejects.toThrow(/got 8 bytes, wanted 4 bytes/);
    expect(await readdir(join(folder, "short"))).toEqual([]);
  });

  test("in pieces interleaves tensors and commits only when all are complete", async () => {
    const path = join(folder, "pieces/x.safetensors");
    await using writer = await SafetensorsWriter.create(path, { a: { dtype: "F32", shape: [2, 2] }, b: { dtype: "F32", shape: [2] } });
    for (let row = 0; row < 2; row++) {
      await writer.append("a", bytesOf(Float32Array.of(row, 10)));
      if (row === 0) await writer.append("b", bytesOf(Float32Array.of(7)));
    }
    await expect(writer.commit()).rejects.toThrow(/"b".*got 4 bytes, wanted 8 bytes/);
    await expect(readFile(path)).rejects.toThrow(/ENOENT/);
    await writer.append("b", bytesOf(Float32Array.of(8)));
    await expect(writer.append("b", new Uint8Array(4))).rejects.toThrow(/got 12 bytes/);
    await writer.commit();
    await using file = await openSafetensors(path);
    expect(await file.readF32("a")).toEqual(Float32Array.of(0, 10, 1, 10));
    expect(await file.readF32("b")).toEqual(Float32Array.of(7, 8));
    expect(await readdir(join(folder, "pieces"))).toEqual(["x.safetensors"]);
  });
});
