import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ShardSet, type ActivationSource } from "@mistral-sae/activations";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DiskSpace } from "../src/activations/disk-space.ts";
import { SetCatalogue } from "../src/activations/set-catalogue.ts";
import type { HarvestPlan } from "../src/harvest/harvest-plan.ts";
import { explainDiskFull } from "../src/threads/disk-full.ts";

const source: ActivationSource = { modelDigest: "m", hookName: "hook", corpus: "a", contextSize: 8, dtype: "F32", width: 8, shardTokens: 100, documents: "trained-on" };
let root: string;
let catalogue: SetCatalogue;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "disk-"));
  catalogue = new SetCatalogue({ kind: "fs", root: join(root, "store") });
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

/** A set of 100 rows, 4000 bytes and what describes them. */
async function stored(corpus: string): Promise<string> {
  const set = await ShardSet.open(catalogue.address, { ...source, corpus });
  await set.write({ index: 0, rows: 100, rowStart: 0, documentStart: 0, documentEnd: 1 }, new Uint8Array(100 * 32), { documents: new Uint32Array(100), positions: new Uint32Array(100) });
  return set.folder;
}

async function plan(rowsWanted: number): Promise<HarvestPlan> {
  const uri = join(root, "text.txt");
  await writeFile(uri, "word ".repeat(10_000));
  const { hookName, width, ...text } = source;
  return { store: catalogue.address, text: { ...text, corpus: "wanted" }, hooks: [{ hookName, width }], corpus: { uri }, bosTokenId: undefined, rowsWanted };
}

describe("DiskSpace", () => {
  it("deletes the sets that were used least recently, but none that is in use", async () => {
    const folders = [];
    for (const corpus of ["a", "b", "c"]) folders.push(await stored(corpus));
    const [a = "", b = "", c = ""] = folders;
    await new Promise((resolve) => setTimeout(resolve, 20));
    await catalogue.touch(b);
    const sizes = new Map((await catalogue.list()).map(({ folder, sizeBytes }) => [folder, sizeBytes]));
    const all = [...sizes.values()].reduce((sum, size) => sum + size, 0);
    // 100 rows are 4000 bytes: less than one set with its records.
    await new DiskSpace(catalogue, all, () => (folder) => folder === a).makeRoom(await plan(100), 0);
    expect((await catalogue.list()).map(({ folder }) => folder).sort()).toEqual([a, b].sort());
    expect(sizes.has(c)).toBe(true);
  });

  it("refuses before any work what cannot fit, and deletes nothing then", async () => {
    const before = (await catalogue.list()).length;
    const disk = new DiskSpace(catalogue, 5000, () => () => false);
    await expect(disk.requireFit(await plan(1000), 0)).rejects.toMatchObject({ code: Code.ResourceExhausted, reason: "ACTIVATION_DISK_FULL", message: expect.stringContaining("40000 bytes do not fit the service's 5000") });
    await expect(disk.makeRoom(await plan(1000), 0)).rejects.toMatchObject({ code: Code.ResourceExhausted });
    await disk.requireFit(await plan(1000), 4500);
    expect((await catalogue.list()).length).toBe(before);
  });

  it("sets no limit of 0", async () => {
    await expect(new DiskSpace(catalogue, 0, () => () => false).makeRoom(await plan(Infinity), 0)).resolves.toBeUndefined();
  });
});

describe("a full disk", () => {
  it("is named, and another error is left as it is", () => {
    const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    expect(explainDiskFull(full)).toMatchObject({ code: Code.FailedPrecondition, reason: "DISK_FULL", message: expect.stringContaining("no space left on device") });
    const other = new Error("else");
    expect(explainDiskFull(other)).toBe(other);
  });
});
