import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/index.ts";
import { fixture } from "../fixtures.ts";

describe("encoding long texts", () => {
  it("is cut off by its signal, after which the next text is encoded", async () => {
    const tokenizer = await loadTokenizer(fixture("tekken-v3"));
    const abort = new AbortController();
    const long = tokenizer.encode("ab".repeat(2e6), { signal: abort.signal });
    const next = tokenizer.encode("the miller ".repeat(1000), { prependBos: false });
    setTimeout(() => abort.abort(), 20);
    await expect(long).rejects.toThrow(/abort/i);
    expect(tokenizer.decode((await next).ids)).toBe("the miller ".repeat(1000));
  });

  it("leaves texts that wait for others and are aborted aside", async () => {
    const tokenizer = await loadTokenizer(fixture("sentencepiece-v3"));
    const abort = new AbortController();
    const first = tokenizer.encode("x".repeat(2e5));
    const second = tokenizer.encode("y".repeat(2e5), { signal: abort.signal });
    abort.abort();
    await expect(second).rejects.toThrow(/abort/i);
    expect((await first).ids.length).toBeGreaterThan(1000);
  });

  it("does not keep a process alive", async () => {
    const index = new URL("../../src/index.ts", import.meta.url).href;
    const script = `const { loadTokenizer } = await import(${JSON.stringify(index)}); const t = await loadTokenizer(${JSON.stringify(fixture("tekken-v3"))}); const { ids } = await t.encode("a b ".repeat(5000)); console.log(String(ids.length));`;
    const folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
    try {
      await writeFile(join(folder, "encode.mjs"), script);
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, "encode.mjs")], { timeout: 9000 });
      expect(Number(stdout)).toBeGreaterThan(5000);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
