import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../support/run-cli.ts";

const sha = "0123456789abcdef0123456789abcdef01234567";
const fixtures = join(import.meta.dirname, "../../../../libs/sae/test/fixtures");

describe("SAEs on the hub", () => {
  let cache = "";
  beforeAll(async () => {
    cache = await mkdtemp(join(tmpdir(), "cli-sae-hub-"));
    const repository = join(cache, "models--tiny--saes");
    await mkdir(join(repository, "refs"), { recursive: true });
    await writeFile(join(repository, "refs", "main"), sha);
    await cp(join(fixtures, "standard"), join(repository, "snapshots", sha, "blocks.16", "res"), { recursive: true });
  });
  afterAll(async () => {
    await rm(cache, { recursive: true, force: true });
  });

  it("are found in the cache by repository and folder, offline, and load from there", async () => {
    const env = { HF_HUB_CACHE: cache, HF_HUB_OFFLINE: "1" };
    const { code, stdout } = await runCli(["--json", "sae", "download", "tiny/saes", "blocks.16/res"], { env });
    expect(code).toBe(0);
    const { folder } = JSON.parse(stdout) as { readonly folder: string };
    expect(folder).toBe(join(cache, "models--tiny--saes", "snapshots", sha, "blocks.16", "res"));
    expect((await runCli(["sae", "inspect", folder])).code).toBe(0);
    expect(await runCli(["sae", "download", "tiny/saes", "other"], { env })).toMatchObject({ code: 2, stderr: expect.stringContaining("tiny/saes/other") as string });
  });

  it("are uploaded only as SAELens 6 folders, with a token, to a hub that answers", async () => {
    const server = createServer((_, response) => response.writeHead(403).end());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const env = { HF_HUB_CACHE: cache, HF_HOME: cache, HF_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    const upload = async (folder: string, token?: string) => await runCli(["sae", "upload", join(fixtures, folder), "tiny/saes"], { env: { ...env, ...(token === undefined ? {} : { HF_TOKEN: token }) } });
    expect(await upload("seed_as_saelens_legacy")).toMatchObject({ code: 2, stderr: expect.stringContaining("sae convert") as string });
    expect(await upload("standard")).toMatchObject({ code: 2, stderr: expect.stringContaining("HF_TOKEN") as string });
    expect(await upload("standard", "hf_reads")).toMatchObject({ code: 2, stderr: expect.stringContaining("does not let tiny/saes be written") as string });
    server.close();
  });
});
