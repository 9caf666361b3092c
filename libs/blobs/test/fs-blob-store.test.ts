import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FsBlobStore, type BlobStore } from "../src/index.ts";

describe("FsBlobStore", () => {
  let root: string;
  let store: BlobStore;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "blobs-"));
    store = new FsBlobStore(root);
  });
  afterEach(async () => {
    await rm(root, { recursive: true });
  });

  const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

  it("reads back any range of what was put", async () => {
    const info = await store.put("a/b.bin", bytes(0, 1, 2, 3, 4, 5));
    expect(info.size).toBe(6);
    const into = new Uint8Array(4);
    expect(await store.get("a/b.bin", { start: 2, length: 3 }, into)).toBe(3);
    expect([...into]).toEqual([2, 3, 4, 0]);
  });

  it("writes a stream piece by piece", async () => {
    async function* stream(): AsyncIterable<Uint8Array> {
      yield bytes(1, 2);
      yield bytes(3);
    }
    await store.put("s", stream());
    expect((await store.head("s"))?.size).toBe(3);
  });

  it("leaves the old blob and no debris when the source fails", async () => {
    await store.put("x", bytes(1));
    async function* broken(): AsyncIterable<Uint8Array> {
      yield bytes(9, 9);
      throw new Error("source broke");
    }
    await expect(store.put("x", broken())).rejects.toThrow("source broke");
    expect((await store.head("x"))?.size).toBe(1);
    expect(await readdir(root)).toEqual(["x"]);
  });

  it("writes only once with putIfAbsent", async () => {
    const results = await Promise.all([1, 2, 3, 4].map((value) => store.putIfAbsent("once", bytes(value))));
    expect(results.filter(Boolean)).toHaveLength(1);
    expect(await store.putIfAbsent("once", bytes(7))).toBe(false);
    expect(await readdir(root)).toEqual(["once"]);
  });

  it("lists by prefix in key order and hides unfinished files", async () => {
    for (const key of ["r/2", "r/10", "q", "r/sub/1", "rest"]) await store.put(key, bytes(1));
    await writeFile(join(root, "r", ".3.0a0b0c.tmp"), "half");
    const keys: string[] = [];
    for await (const info of store.list("r/")) keys.push(info.key);
    expect(keys).toEqual(["r/10", "r/2", "r/sub/1"]);
  });

  it("removes what killed writers left behind, and nothing else", async () => {
    for (const key of ["r/1", "other/1"]) await store.put(key, bytes(1));
    for (const folder of ["r", "other"]) await writeFile(join(root, folder, ".1.0a0b0c.tmp"), "half");
    await store.removeUnfinished("r/");
    expect((await readdir(root, { recursive: true })).sort()).toEqual(["other", "other/.1.0a0b0c.tmp", "other/1", "r", "r/1"]);
  });

  it("lists nothing where nothing was put", async () => {
    const keys: string[] = [];
    for await (const info of store.list("none/")) keys.push(info.key);
    expect(keys).toEqual([]);
  });

  it("deletes, and forgives deleting twice", async () => {
    await store.put("gone", bytes(1));
    await store.delete("gone");
    await store.delete("gone");
    expect(await store.head("gone")).toBeUndefined();
  });

  it("says where a blob ends when a range goes past it", async () => {
    await store.put("short", bytes(1, 2));
    await expect(store.get("short", { start: 0, length: 3 }, new Uint8Array(3))).rejects.toMatchObject({ got: "2 bytes", wanted: "at least 3 bytes" });
  });

  it.each(["", "/etc/passwd", "a//b", "../x", "a/../../x", "a\\b", "a\0b", "."])("refuses the key %j", async (key) => {
    await expect(store.put(key, bytes(1))).rejects.toThrow("blob key");
  });

  it("stops writing when the signal is aborted", async () => {
    const abort = new AbortController();
    function* endless(): Iterable<Uint8Array> {
      for (;;) {
        yield new Uint8Array(1024);
        abort.abort();
      }
    }
    await expect(store.put("z", endless(), { signal: abort.signal })).rejects.toThrow("aborted");
    expect(await readdir(root)).toEqual([]);
  });
});
