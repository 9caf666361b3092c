import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { type Client, Code, createClient, type RpcError } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { expectIdle, loadOf } from "./support/load.ts";
import { text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const request = { prompt: text("Once upon a time"), sampling: { temperature: 0, maxTokens: 20, ignoreEos: true } };

let service: TestService;
beforeAll(async () => {
  service = await startService({ maxBatchRows: 1, maxQueued: 12 });
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

const clientOf = (tenant: string): Client<typeof InferenceService> => createClient(InferenceService, service.address, { headers: { "x-tenant-id": tenant } });

/** Runs a generation of a tenant to its end; `ended` then knows its place. */
async function run(tenant: string, ended: string[], maxTokens = 20): Promise<string> {
  try {
    for await (const _ of clientOf(tenant).generate({ ...request, sampling: { ...request.sampling, maxTokens } })) void _;
    ended.push(tenant);
    return "OK";
  } catch (error) {
    return (error as RpcError).reason;
  }
}

/** Fills the one row, then the queue with more of the same tenant. */
async function crowd(ended: string[], waiting: number): Promise<Promise<string>[]> {
  const runs = [run("greedy", ended, 400)];
  await expect.poll(async () => (await loadOf(service)).activeRequests).toBe(1);
  for (let i = 0; i < waiting; i++) runs.push(run("greedy", ended));
  await expect.poll(async () => (await loadOf(service)).queuedRequests).toBeGreaterThanOrEqual(waiting - 3);
  return runs;
}

describe("a tenant with a single request", () => {
  it("has its turn after a generation or two of one that has filled the queue", async () => {
    const ended: string[] = [];
    const runs = await crowd(ended, 10);
    const before = ended.length;
    expect(await run("modest", ended)).toBe("OK");
    expect(ended.indexOf("modest")).toBeLessThanOrEqual(before + 3);
    expect(await Promise.all(runs)).toEqual(runs.map(() => "OK"));
    await expectIdle(service);
  });

  it("finds room in a full queue, at the cost of the newest of the tenant that has filled it", async () => {
    const ended: string[] = [];
    const runs = await crowd(ended, 13);
    const outcomes = await Promise.all([run("modest", ended), run("third", ended), ...runs]);
    expect(outcomes.slice(0, 2)).toEqual(["OK", "OK"]);
    expect(outcomes.filter((outcome) => outcome !== "OK").every((outcome) => outcome === "CONCURRENCY_LIMIT")).toBe(true);
    await expectIdle(service);
  });
});

it("a name of a tenant that is too long is refused", async () => {
  const error = (await (async () => {
    for await (const _ of clientOf("t".repeat(129)).generate(request)) void _;
  })().catch((refused: unknown) => refused)) as RpcError;
  expect(error).toMatchObject({ code: Code.InvalidArgument, message: "x-tenant-id: got 129 characters, wanted at most 128" });
});
