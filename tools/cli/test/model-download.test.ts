import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { demoModelDir } from "@mistral-sae/demo-model";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "./support/run-cli.ts";

const sha = "0123456789abcdef0123456789abcdef01234567";

describe("mistral-sae model download", () => {
  let cache = "";
  beforeAll(async () => {
    cache = await mkdtemp(join(tmpdir(), "cli-hub-"));
    await mkdir(join(cache, "models--tiny--stories", "refs"), { recursive: true });
    await writeFile(join(cache, "models--tiny--stories", "refs", "main"), sha);
    await cp(demoModelDir, join(cache, "models--tiny--stories", "snapshots", sha), { recursive: true });
  });
  afterAll(async () => {
    await rm(cache, { recursive: true, force: true });
  });

  it("tells the folder of a model that is in the cache, offline", async () => {
    const { code, stdout } = await runCli(["--json", "model", "download", "tiny/stories"], { env: { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1" } });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ id: "tiny/stories", revision: "main", folder: join(cache, "models--tiny--stories", "snapshots", sha) });
  });

  it("refuses what is no id, and what is not there, with exit code 2", async () => {
    const bad = await runCli(["model", "download", "stories"], { env: { HF_HUB_CACHE: cache } });
    expect(bad).toMatchObject({ code: 2, stderr: expect.stringContaining("owner/name") as string });
    const away = await runCli(["model", "download", "tiny/stories", "--revision", "v2"], { env: { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1" } });
    expect(away).toMatchObject({ code: 2, stderr: expect.stringContaining("tiny/stories@v2") as string });
    const server = createServer((_, response) => response.writeHead(404).end());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const none = await runCli(["model", "download", "tiny/none"], { env: { HF_HUB_CACHE: cache, HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } });
    server.close();
    expect(none).toMatchObject({ code: 2, stderr: expect.stringContaining("has no model tiny/none") as string });
  });
});
