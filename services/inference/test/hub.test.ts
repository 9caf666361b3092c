import { createServer, type Server } from "node:http";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { demoModelDir } from "@mistral-sae/demo-model";
import { Code } from "@mistral-sae/rpc";
import { sha256File } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { generate, idsOf, variantOf } from "./support/generate.ts";
import { text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const sha = "0123456789abcdef0123456789abcdef01234567";

/** A hub with the demo model as tiny/stories. */
async function startHub(): Promise<{ readonly endpoint: string; readonly server: Server }> {
  const siblings = await Promise.all(
    (await readdir(demoModelDir)).map(async (rfilename) => {
      const path = join(demoModelDir, rfilename);
      return { rfilename, size: (await stat(path)).size, lfs: { sha256: await sha256File(path) } };
    }),
  );
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://hub");
    const file = new RegExp(`^/tiny/stories/resolve/${sha}/([\\w.]+)$`).exec(pathname)?.[1];
    if (pathname === "/api/models/tiny/stories/revision/main") response.end(JSON.stringify({ sha, siblings }));
    else if (file === undefined) response.writeHead(404).end();
    else void readFile(join(demoModelDir, file)).then((bytes) => response.end(bytes));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

describe("a model on the hub", () => {
  let service: TestService;
  let cache: string;
  let hub: Awaited<ReturnType<typeof startHub>>;
  beforeAll(async () => {
    hub = await startHub();
    cache = await mkdtemp(join(tmpdir(), "hub-cache-"));
    vi.stubEnv("HF_ENDPOINT", hub.endpoint);
    vi.stubEnv("HF_HUB_CACHE", cache);
    service = await startService({ models: [] });
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await service.stop();
    await removeData(service);
    hub.server.close();
    await rm(cache, { recursive: true, force: true });
  });

  async function load(uri: string) {
    const { operation } = await service.inference.loadModel({ uri });
    return (await service.operations.waitOperation({ name: operation?.name ?? "" })).operation;
  }

  it("is downloaded and loaded by its id, and its files' own checksums make its digest", async () => {
    expect((await load("tiny/stories"))?.state).toBe(OperationState.SUCCEEDED);
    const { model } = await service.inference.getModel({ name: "models/stories" });
    expect(model).toMatchObject({ state: ModelState.READY, uri: join(cache, "models--tiny--stories", "snapshots", sha) });
    const run = await generate(service, { model: "models/stories", prompt: text("Once upon a time"), sampling: { temperature: 0, maxTokens: 3 } });
    expect(idsOf(variantOf(run))).toHaveLength(3);
  });

  it("that the hub does not have is refused by id, and what is neither folder nor id at once", async () => {
    expect((await load("tiny/none"))?.result.value).toMatchObject({ code: Code.InvalidArgument, message: expect.stringMatching(/has no model tiny\/none/) as string });
    await expect(service.inference.loadModel({ uri: "not a model" })).rejects.toThrow(/uri: got "not a model", wanted a folder .* or a hub id like owner\/name/);
  });
});
