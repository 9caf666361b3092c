import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fileDigest } from "../../src/graph/file-digest.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

describe("the digest of a weight file", () => {
  let folder: string;
  let cache: string;
  let file: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "digest-"));
    cache = join(folder, "cache");
    file = join(folder, "model.safetensors");
  });
  afterEach(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const digest = async (path = file): Promise<string> => await fileDigest(path, cache, 1);
  const records = async (): Promise<string[]> => await readdir(cache).catch(() => []);
  /** Waits until a file is old enough for its digest to be kept. */
  const settle = async (): Promise<void> => {
    while (Date.now() - (await stat(file)).ctimeMs < 2100) await new Promise((resolve) => setTimeout(resolve, 50));
  };

  it("is kept, and computed anew when the file has changed, also with the size and time of before", async () => {
    await writeFile(file, "one");
    const { mtime } = await stat(file);
    await settle();
    expect(await digest()).toBe(sha256("one"));
    const [record] = await records();
    await writeFile(join(cache, record!), JSON.stringify({ ...JSON.parse(await readFile(join(cache, record!), "utf8")), sha256: sha256("kept") }));
    expect(await digest()).toBe(sha256("kept"));
    await writeFile(file, "two");
    await utimes(file, mtime, mtime);
    expect(await digest()).toBe(sha256("two"));
  });

  it("of a file that has just changed is not kept, nor are those of small files", async () => {
    await writeFile(file, "one");
    expect(await digest()).toBe(sha256("one"));
    expect(await fileDigest(file, cache)).toBe(sha256("one"));
    expect(await records()).toEqual([]);
  });

  it("is computed where nothing can be kept or what was kept is damaged", async () => {
    await writeFile(file, "one");
    await settle();
    await writeFile(cache, "not a folder");
    expect(await digest()).toBe(sha256("one"));
    await rm(cache);
    await digest();
    await writeFile(join(cache, (await records())[0]!), "{");
    expect(await digest()).toBe(sha256("one"));
  });

  it("of a hub's blob is its name", async () => {
    const blobs = join(folder, "models--a--b", "blobs");
    await mkdir(blobs, { recursive: true });
    const name = sha256("weights");
    await writeFile(join(blobs, name), "weights");
    await symlink(join(blobs, name), file);
    expect(await digest()).toBe(name);
    expect(await records()).toEqual([]);
  });
});
