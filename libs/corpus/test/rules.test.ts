import { createHash } from "node:crypto";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { corpusFingerprint, isHeldBack, openCorpus, windowsOf, type CorpusSource } from "../src/index.ts";

describe("isHeldBack", () => {
  it("follows the first eight bytes of the text's SHA-256", () => {
    for (let index = 0; index < 200; index += 1) {
      const text = `story ${index}`;
      const first = BigInt(`0x${createHash("sha256").update(text).digest("hex").slice(0, 16)}`);
      expect(isHeldBack(text)).toBe(first % 20n === 0n);
    }
  });

  it("holds back about every 20th text", () => {
    const held = Array.from({ length: 20_000 }, (_, index) => isHeldBack(`text ${index}`)).filter(Boolean).length;
    expect(held).toBeGreaterThan(880);
    expect(held).toBeLessThan(1120);
  });
});

describe("windowsOf", () => {
  const windows = (count: number, context: number): number[][] => [...windowsOf(Uint32Array.from({ length: count }, (_, id) => id), context)].map((window) => [...window]);

  it("cuts into context_size - 1 ids, the last window short", () => {
    expect(windows(7, 4)).toEqual([[0, 1, 2], [3, 4, 5], [6]]);
    expect(windows(6, 4)).toEqual([[0, 1, 2], [3, 4, 5]]);
  });

  it("has no window for an empty document", () => {
    expect(windows(0, 128)).toEqual([]);
  });

  it("refuses a context without room", () => {
    expect(() => windows(3, 1)).toThrow(/context of 1/);
  });
});

describe("corpusFingerprint", () => {
  const fingerprint = async (source: CorpusSource): Promise<string> => await corpusFingerprint(await openCorpus(source));

  it("depends on content and options, not on the place", async () => {
    const root = await mkdtemp(join(tmpdir(), "fingerprint-"));
    await writeFile(join(root, "x.jsonl"), '{"text":"one"}\n');
    const first = await fingerprint({ uri: root });
    expect(await fingerprint({ uri: root, textField: "text", maxDocuments: 0 })).toBe(first);
    expect(await fingerprint({ uri: root, maxDocuments: 1 })).not.toBe(first);
    await rename(root, `${root}-moved`);
    expect(await fingerprint({ uri: `${root}-moved` })).toBe(first);
    await writeFile(join(`${root}-moved`, "x.jsonl"), '{"text":"two"}\n');
    expect(await fingerprint({ uri: `${root}-moved` })).not.toBe(first);
    await rm(`${root}-moved`, { recursive: true });
  });
});
