import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AtomicFile, atomicWriteFile, sha256File } from "../src/index.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tensor-files-"));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

describe("atomic files", () => {
  test("replace what was there and leave no temporary file", async () => {
    const path = join(folder, "made/on/the/way/file.txt");
    await atomicWriteFile(path, "one");
    await atomicWriteFile(path, new TextEncoder().encode("two"));
    expect(await readFile(path, "utf8")).toBe("two");
    expect(await readdir(join(folder, "made/on/the/way"))).toEqual(["file.txt"]);
    expect(await sha256File(path)).toBe(createHash("sha256").update("two").digest("hex"));
  });

  test("that are not committed leave the old content and nothing else", async () => {
    const path = join(folder, "kept/file.txt");
    await atomicWriteFile(path, "old");
    {
      await using file = await AtomicFile.create(path);
      await file.write(new TextEncoder().encode("half"), 0);
    }
    expect(await readFile(path, "utf8")).toBe("old");
    expect(await readdir(join(folder, "kept"))).toEqual(["file.txt"]);
  });
});
