import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModelState, Precision } from "@mistral-sae/contracts/mistral_sae/inference/v1/model";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { demoModelDir } from "@mistral-sae/demo-model";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, variantOf } from "./support/generate.ts";
import { text } from "./support/messages.ts";
import { MODEL, removeData, startService, type TestService } from "./support/service.ts";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

async function load(request: Parameters<TestService["inference"]["loadModel"]>[0]) {
  const { operation } = await service.inference.loadModel(request);
  const { operation: done } = await service.operations.waitOperation({ name: operation?.name ?? "" });
  return done;
}

describe("a model", () => {
  it("says what it is and what it can do", async () => {
    const { model } = await service.inference.getModel({ name: MODEL });
    expect(model).toMatchObject({ architecture: "MistralForCausalLM", nLayers: 4, dModel: 192, dVocab: 4096, nCtx: 512, bosTokenId: 1, eosTokenIds: [2], state: ModelState.READY, hasChatTemplate: true });
    expect(model?.digest).toMatch(/^[0-9a-f]{64}$/);
    const { hooks, methods, limits, backend } = await service.inference.getCapabilities({});
    expect(hooks.find(({ hookName }) => hookName === "blocks.2.hook_resid_pre")).toMatchObject({ readable: true, writable: true, width: 192 });
    expect(hooks.find(({ hookName }) => hookName === "blocks.2.attn.hook_z")?.refusalReason).not.toBe("");
    expect(methods).toContain(SteeringMethod.FEATURE_CLAMP);
    expect(limits).toMatchObject({ maxContextTokens: 512, maxBatchRows: 64, maxQueuedRequests: 256 });
    expect(backend).toMatch(/^onnxruntime /);
  });

  it("is loaded under another name beside the first, and has to be named from then on", async () => {
    const done = await load({ modelId: "second", uri: demoModelDir });
    expect(done?.state).toBe(OperationState.SUCCEEDED);
    expect((await service.inference.listModels({})).models.map(({ name }) => name)).toEqual([MODEL, "models/second"]);
    await expect(generate(service, { prompt: text("Hi") })).rejects.toThrow(/model: is empty, wanted one of models\/demo, models\/second/);
    const run = await generate(service, { model: "models/second", prompt: text("Once upon a time"), sampling: { temperature: 0, maxTokens: 3 } });
    expect(idsOf(variantOf(run))).toHaveLength(3);
  });

  it("that was loaded by a call is there again after a restart, until it is unloaded", async () => {
    await service.stop();
    service = await startService({ data: service.data });
    expect((await service.inference.getModel({ name: "models/second" })).model?.state).toBe(ModelState.READY);
    expect((await service.inference.unloadModel({ name: "models/second" })).model?.state).toBe(ModelState.COLD);
    await expect(generate(service, { model: "models/second", prompt: text("Hi") })).rejects.toMatchObject({ code: Code.FailedPrecondition, reason: "MODEL_NOT_LOADED" });
    expect(idsOf(variantOf(await generate(service, { prompt: text("Hi"), sampling: { maxTokens: 2 } })))).toHaveLength(2);
    await service.stop();
    service = await startService({ data: service.data });
    expect((await service.inference.listModels({})).models.map(({ name }) => name)).toEqual([MODEL]);
  });

  it("that is quantised while it loads is so after a restart too, and not loaded at another precision under its name", async () => {
    expect((await load({ modelId: "small", uri: demoModelDir, precision: Precision.INT4 }))?.state).toBe(OperationState.SUCCEEDED);
    expect((await service.inference.getModel({ name: "models/small" })).model).toMatchObject({ state: ModelState.READY, precision: Precision.INT4 });
    const other = await load({ modelId: "small", uri: demoModelDir, precision: Precision.INT8 });
    expect(other).toMatchObject({ state: OperationState.FAILED, result: { value: { message: expect.stringMatching(/another precision/) as string } } });
    await service.stop();
    service = await startService({ data: service.data });
    expect((await service.inference.getModel({ name: "models/small" })).model).toMatchObject({ state: ModelState.READY, uri: demoModelDir, precision: Precision.INT4 });
    expect(idsOf(variantOf(await generate(service, { model: "models/small", prompt: text("Once upon a time"), sampling: { temperature: 0, maxTokens: 4 } })))).toHaveLength(4);
    await service.inference.unloadModel({ name: "models/small" });
  });

  it("that is not one is refused, and its state says why", async () => {
    const folder = await mkdtemp(join(tmpdir(), "model-"));
    await expect(service.inference.loadModel({ uri: join(folder, "none") })).rejects.toThrow(/uri: got .*none", wanted a folder with config.json/);
    await expect(service.inference.loadModel({ uri: folder, precision: Precision.BF16 })).rejects.toMatchObject({ code: Code.Unimplemented });
    await writeFile(join(folder, "config.json"), "{}");
    const done = await load({ modelId: "broken", uri: folder });
    expect(done?.state).toBe(OperationState.FAILED);
    expect(done?.result.value).toMatchObject({ message: expect.stringMatching(/holds no tokenizer/) as string });
    expect((await service.inference.getModel({ name: "models/broken" })).model).toMatchObject({ state: ModelState.FAILED, stateDetail: expect.stringMatching(/no tokenizer/) as string });
  });
});
