import { rm } from "node:fs/promises";
import type { Worker } from "node:worker_threads";
import { Health, HealthCheckResponse_ServingStatus as Status } from "@mistral-sae/contracts/grpc/health/v1/health";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { ModelState } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { SaeState, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { openEngine } from "@mistral-sae/model";
import { Code, createClient, type RpcError } from "@mistral-sae/rpc";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EngineOpener } from "../src/index.ts";
import { generate, idsOf, variantOf } from "./support/generate.ts";
import { expectIdle } from "./support/load.ts";
import { text } from "./support/messages.ts";
import { createSae, SAE, writeResidualSae } from "./support/residual-sae.ts";
import { MODEL, removeData, startService, type TestService } from "./support/service.ts";

const prompt = text("Once upon a time");
const short = { prompt, sampling: { temperature: 0, maxTokens: 4, ignoreEos: true } };

/** Threads of engines, in the order in which they were started. */
let threads: Worker[];
const noteThread = (worker: Worker) => {
  threads.push(worker);
};
const opener: EngineOpener = async (options) => {
  process.on("worker", noteThread);
  try {
    return await openEngine(options);
  } finally {
    process.off("worker", noteThread);
  }
};

/** A fault in the thread's own code: its message handler throws. Ending the thread from outside may cut into onnxruntime, which aborts the process. */
function crash(): void {
  threads.at(-1)?.postMessage(null);
}

let service: TestService | undefined;
beforeEach(() => {
  threads = [];
});
afterEach(async () => {
  await service?.stop();
  if (service !== undefined) await removeData(service);
  service = undefined;
});

async function stateOf(of: TestService): Promise<ModelState | undefined> {
  return (await of.inference.getModel({ name: MODEL })).model?.state;
}

/** Runs a generation without end; resolves once it generates, with what will have become of it. */
async function endless(of: TestService): Promise<{ readonly end: Promise<RpcError> }> {
  const events = of.inference.generate({ prompt, sampling: { temperature: 1, maxTokens: 500, ignoreEos: true } })[Symbol.asyncIterator]();
  await events.next();
  await events.next();
  const end = (async () => {
    for (;;) if ((await events.next()).done === true) throw new Error("the generation ended as if nothing had happened");
  })().catch((error: unknown) => error as RpcError);
  return { end };
}

describe("an engine whose thread dies", () => {
  it("tells the requests under way, and comes back with its SAEs", async () => {
    const running = await startService({ restartDelayMs: 50 }, opener);
    service = running;
    const folder = await writeResidualSae(running);
    await createSae(running, "residual", folder, { validate: ValidationPolicy.SKIP });
    const before = idsOf(variantOf(await generate(running, short)));
    const health = createClient(Health, running.address);
    const serving = async (name: string) => (await health.check({ service: name })).status;
    expect([await serving(MODEL), await serving(InferenceService.typeName)]).toEqual([Status.SERVING, Status.SERVING]);
    const watched: Status[] = [];
    const stop = new AbortController();
    const watching = (async () => {
      for await (const { status } of health.watch({ service: InferenceService.typeName }, { signal: stop.signal })) watched.push(status);
    })().catch(() => undefined);
    const runs = [await endless(running), await endless(running)];
    crash();
    for (const { end } of runs) {
      const error = await end;
      expect(error).toMatchObject({ code: Code.Unavailable, reason: "BACKEND_DOWN" });
      expect(error.retryDelayMs).toBeGreaterThan(0);
    }
    // Clients hear of the death before the registry does.
    await expect.poll(() => threads).toHaveLength(2);
    expect((await running.saes.getSae({ name: SAE })).sae?.state).toBeOneOf([SaeState.LOADING, SaeState.READY]);
    await expect.poll(() => stateOf(running)).toBe(ModelState.READY);
    expect((await running.saes.getSae({ name: SAE })).sae?.state).toBe(SaeState.READY);
    expect(idsOf(variantOf(await generate(running, short)))).toEqual(before);
    await expect.poll(() => watched).toEqual([Status.SERVING, Status.NOT_SERVING, Status.SERVING]);
    stop.abort();
    await watching;
    await expectIdle(running);
    await rm(folder, { recursive: true });
  });

  it("again and again is left failed, with the reason, until it is loaded anew", async () => {
    const running = await startService({ restartDelayMs: 10, maxRestarts: 2 }, opener);
    service = running;
    for (let death = 0; death < 3; death++) {
      await expect.poll(() => stateOf(running)).toBe(ModelState.READY);
      crash();
      await expect.poll(() => stateOf(running)).not.toBe(ModelState.READY);
    }
    await expect.poll(() => stateOf(running)).toBe(ModelState.FAILED);
    const { model } = await running.inference.getModel({ name: MODEL });
    expect(model?.stateDetail).toMatch(/ended 3 times in ten minutes.*the engine's thread died/);
    expect(threads).toHaveLength(3);
    await expect(generate(running, short)).rejects.toMatchObject({ code: Code.Unavailable, reason: "BACKEND_DOWN" });
    const { operation } = await running.inference.loadModel({ modelId: "demo", uri: model?.uri ?? "" });
    await running.operations.waitOperation({ name: operation?.name ?? "" });
    expect(idsOf(variantOf(await generate(running, short)))).toHaveLength(4);
  });

  it("that cannot be opened again is tried again, and says it is being loaded meanwhile", async () => {
    let refuse = 0;
    const running = await startService({ restartDelayMs: 300 }, async (options) => {
      if (refuse-- > 0) throw new Error("no memory for another engine");
      return await opener(options);
    });
    service = running;
    refuse = 2;
    crash();
    await expect.poll(() => stateOf(running)).toBe(ModelState.LOADING);
    const refused = (await generate(running, short).catch((error: unknown) => error)) as RpcError;
    expect(refused).toMatchObject({ code: Code.Unavailable, reason: "MODEL_LOADING" });
    expect(refused.retryDelayMs).toBeGreaterThan(0);
    await expect.poll(() => stateOf(running), { timeout: 10_000 }).toBe(ModelState.READY);
    expect(idsOf(variantOf(await generate(running, short)))).toHaveLength(4);
  });
});
