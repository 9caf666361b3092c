import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Code } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf } from "../support/generate.ts";
import { floats, ids, text } from "../support/messages.ts";
import { type ClientTensor, infer } from "../support/open-inference.ts";
import { createSae, HOOK, SAE, writeResidualSae } from "../support/residual-sae.ts";
import { removeData, startService, type TestService } from "../support/service.ts";

interface Golden {
  readonly ids: number[];
  readonly text: string;
  readonly greedy40_ids: number[];
  readonly greedy40_text: string;
}
const golden = JSON.parse(readFileSync(new URL("../fixtures/golden.json", import.meta.url), "utf8")) as Golden[];
const [first, second] = golden as [Golden, Golden];
const width = 192;
const vocab = 4096;

let service: TestService;
let folder: string;
beforeAll(async () => {
  service = await startService();
  folder = await writeResidualSae(service);
  await createSae(service, "residual", folder);
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
  await rm(folder, { recursive: true, force: true });
});

const numbers = (tensor: ClientTensor | undefined) => Float64Array.from(tensor?.values ?? [], Number);
const int64 = (values: readonly number[]) => BigInt64Array.from(values, BigInt);
const refused = (code: Code, message: string) => expect.objectContaining({ code, message: expect.stringContaining(message) as string }) as Error;

async function residualOf(tokenIds: number[], hookName = HOOK): Promise<Float32Array> {
  const rows = new Float32Array(tokenIds.length * width);
  for await (const { tensor, tokenStart } of service.inference.forward({ prompts: [ids(tokenIds)], hookNames: [hookName] })) rows.set(floats(tensor), tokenStart * width);
  return rows;
}

function closeTo(got: ArrayLike<number>, wanted: ArrayLike<number>): void {
  expect(got.length).toBe(wanted.length);
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) worst = Math.max(worst, Math.abs((got[i] ?? Number.NaN) - (wanted[i] ?? 0)));
  expect(worst).toBeLessThan(1e-3);
}

describe("the server", () => {
  it("is live and ready, says what it is, and knows its models", async () => {
    expect(await service.openInference.serverLive({})).toMatchObject({ live: true });
    expect(await service.openInference.serverReady({})).toMatchObject({ ready: true });
    expect(await service.openInference.serverMetadata({})).toMatchObject({ name: "mistral-sae", version: "0.1.0" });
    for (const name of ["demo", "demo.residual.encode", "demo.residual.decode"]) expect(await service.openInference.modelReady({ name })).toMatchObject({ ready: true });
    for (const name of ["other", "demo.other.encode", "Not a name"]) expect(await service.openInference.modelReady({ name })).toMatchObject({ ready: false });
    expect(await service.openInference.modelReady({ name: "demo", version: "2" })).toMatchObject({ ready: false });
  });

  it("describes the tensors and parameters of each model", async () => {
    const metadata = await service.openInference.modelMetadata({ name: "demo" });
    expect(metadata).toMatchObject({ name: "demo", versions: ["1"] });
    expect(metadata.inputs.slice(0, 4).map(({ name }) => name)).toEqual(["input_ids", "attention_mask", "lengths", "text"]);
    expect(metadata.inputs.map(({ name }) => name)).toEqual(expect.arrayContaining(["hook_name", "sae", "max_tokens", "seed"]));
    expect(metadata.outputs.find(({ name }) => name === "logits")?.shape).toEqual([-1n, -1n, BigInt(vocab)]);
    expect(metadata.outputs.find(({ name }) => name === HOOK)?.shape).toEqual([-1n, -1n, BigInt(width)]);
    const sae = await service.openInference.modelMetadata({ name: "demo.residual.encode" });
    expect(sae.inputs[0]).toMatchObject({ name: "residual", datatype: "FP32", shape: [-1n, BigInt(width)] });
    expect(sae.outputs.map(({ name }) => name)).toEqual(["feature_indices", "feature_acts"]);
    await expect(service.openInference.modelMetadata({ name: "nonsense" })).rejects.toThrow(refused(Code.NotFound, "nonsense"));
  });
});

describe("a language model", () => {
  it.each([false, true])("gives the last logits of padded rows, as each prompt alone (typed contents: %s)", async (typed) => {
    const columns = Math.max(first.ids.length, second.ids.length);
    // The first row is padded before its tokens, the second after.
    const tokens = [...Array<number>(columns - first.ids.length).fill(0), ...first.ids, ...second.ids, ...Array<number>(columns - second.ids.length).fill(0)];
    const mask = [...Array.from({ length: columns }, (_, i) => Number(i >= columns - first.ids.length)), ...Array.from({ length: columns }, (_, i) => Number(i < second.ids.length))];
    const { logits } = await infer(service, { typed, inputs: { input_ids: [[2, columns], int64(tokens)], attention_mask: [[2, columns], Int32Array.from(mask)] } });
    expect(logits?.shape).toEqual([2, 1, vocab]);
    for (const [row, prompt] of [first, second].entries()) {
      const alone = await service.inference.getLogits({ prompt: ids(prompt.ids) });
      closeTo(numbers(logits).slice(row * vocab, (row + 1) * vocab), floats(alone.logits));
    }
  });

  it("gives all logits, zero in the padding", async () => {
    const { logits } = await infer(service, {
      inputs: { input_ids: [[1, 4], Int32Array.of(1, 465, 456, 7)], lengths: [[1], Int32Array.of(3)] },
      outputs: [{ name: "logits", parameters: { positions: "all" } }],
    });
    expect(logits?.shape).toEqual([1, 4, vocab]);
    const alone = await service.inference.getLogits({ prompt: ids([1, 465, 456]), positions: [0, 1, 2] });
    closeTo(numbers(logits).slice(0, 3 * vocab), floats(alone.logits));
    expect(numbers(logits).slice(3 * vocab).every((value) => value === 0)).toBe(true);
  });

  it("gives residuals by parameter and by the hook's own name, and features of an SAE, from text", async () => {
    const story = "Once upon a time, there was a little girl named Lily. She";
    const outputs = await infer(service, {
      inputs: { text: [[1, 1], [story]] },
      parameters: { hook_name: HOOK, sae: "residual", positions: "all" },
      outputs: ["residual", "blocks.0.hook_resid_post", "feature_indices", "feature_acts"],
    });
    const n = first.ids.length;
    expect(outputs["residual"]?.shape).toEqual([1, n, width]);
    closeTo(numbers(outputs["residual"]), await residualOf(first.ids));
    closeTo(numbers(outputs["blocks.0.hook_resid_post"]), await residualOf(first.ids, "blocks.0.hook_resid_post"));
    const [, , k] = outputs["feature_acts"]?.shape ?? [];
    expect(k).toBe(32);
    const acts = numbers(outputs["feature_acts"]);
    expect(acts[32]).toBeGreaterThan(0);
    const coded = await infer(service, { model: "demo.residual.encode", inputs: { residual: [[n, width], await residualOf(first.ids)] } });
    expect(numbers(coded["feature_indices"])).toEqual(numbers(outputs["feature_indices"]));
    closeTo(numbers(coded["feature_acts"]), acts);
  });

  it("generates what Generate generates, for several prompts at once", async () => {
    const texts = [first, second].map(({ text }) => text);
    const outputs = await infer(service, {
      inputs: { text: [[2, 1], texts] },
      parameters: { max_tokens: 40, temperature: 0 },
      outputs: ["generated_text", "output_ids", "output_lengths", "finish_reason"],
    });
    expect(outputs["generated_text"]?.values).toEqual([first.greedy40_text, second.greedy40_text]);
    expect(numbers(outputs["output_ids"])).toEqual(Float64Array.from([...first.greedy40_ids, ...second.greedy40_ids]));
    expect(outputs["output_ids"]?.shape).toEqual([2, 40]);
    expect(outputs["finish_reason"]?.values).toEqual(["LENGTH", "LENGTH"]);
  });

  it("takes parameters as tensors too, and samples by them", async () => {
    const inputs = { text: [[1], [first.text]] as const, max_tokens: [[1], Int32Array.of(12)] as const, temperature: [[1], Float32Array.of(0.8)] as const, stop: [[2], ["zebra", "lion"]] as const };
    const outputs = await infer(service, { inputs, parameters: { seed: 7 } });
    const wanted = await generate(service, { prompt: text(first.text), sampling: { maxTokens: 12, temperature: Math.fround(0.8), seed: 7n } });
    expect(outputs["generated_text"]?.values).toEqual([textOf(variantOf(wanted))]);
    expect(numbers(outputs["output_ids"])).toEqual(Float64Array.from(idsOf(variantOf(wanted))));
  });

  it("steers, and proves it", async () => {
    const interventions = JSON.stringify([{ id: "f", feature: { sae: SAE, feature_index: 3 }, method: "STEERING_METHOD_ADD", strength: 0.6, unit: "STRENGTH_UNIT_RESID_NORM_FRACTION" }]);
    const call = { inputs: { text: [[1, 1], [first.text]] as const }, outputs: ["generated_text", "steering_applied_steps"] };
    const steered = await infer(service, { ...call, parameters: { max_tokens: 10, temperature: 0, interventions } });
    expect(numbers(steered["steering_applied_steps"])).toEqual(Float64Array.of(9));
    expect(first.greedy40_text.startsWith(String(steered["generated_text"]?.values[0]))).toBe(false);
    const logits = await infer(service, { inputs: call.inputs, parameters: { interventions } });
    const plain = await infer(service, { inputs: call.inputs });
    expect(numbers(logits["logits"])).not.toEqual(numbers(plain["logits"]));
  });

  it.each<[string, Partial<Parameters<typeof infer>[1]>, string]>([
    ["an unknown output", { outputs: ["probabilities"] }, "probabilities"],
    ["an output twice", { outputs: ["logits", "logits"] }, "twice"],
    ["an unknown parameter", { parameters: { temprature: 1 } }, "temprature"],
    ["a parameter that no output reads", { parameters: { hook_name: HOOK } }, "read by none"],
    ["a residual without a hook", { outputs: ["residual"] }, "hook_name"],
    ["features without an SAE", { outputs: ["feature_acts"] }, "sae"],
    ["sampling without an output of it", { outputs: ["logits"], parameters: { max_tokens: 3 } }, "generation"],
    ["an unknown input", { inputs: { ids: [[1, 1], Int32Array.of(1)] } }, "input_ids"],
    ["no prompt", { inputs: {} }, "prompt"],
    ["floats for ids", { inputs: { input_ids: [[1, 1], Float32Array.of(1)] } }, "INT64"],
    ["a shape that contradicts the data", { inputs: { input_ids: [[1, 3], Int32Array.of(1, 2)] } }, "8 raw bytes, wanted 12"],
    ["ids beyond the vocabulary", { inputs: { input_ids: [[1, 1], Int32Array.of(5000)] } }, "wanted less than 4096"],
    ["negative ids", { inputs: { input_ids: [[1, 1], Int32Array.of(-1)] } }, "wanted a token id"],
    ["a mask with a gap", { inputs: { input_ids: [[1, 3], Int32Array.of(1, 2, 3)], attention_mask: [[1, 3], Int32Array.of(1, 0, 1)] } }, "gap"],
    ["a mask that selects nothing", { inputs: { input_ids: [[1, 2], Int32Array.of(1, 2)], attention_mask: [[1, 2], Int32Array.of(0, 0)] } }, "no token"],
    ["interventions that are none", { parameters: { interventions: '[{"nonsense":1}]' } }, "nonsense"],
    ["a bad value", { parameters: { max_tokens: -1 } }, "whole number"],
  ])("refuses %s by name", async (_what, call, message) => {
    await expect(infer(service, { inputs: { text: [[1, 1], ["Once"]] }, ...call })).rejects.toThrow(refused(Code.InvalidArgument, message));
  });
});

describe("an SAE as a model", () => {
  it("decodes what it encoded, with integer indices of any width", async () => {
    const rows = await residualOf(first.ids);
    const codes = await infer(service, { model: "demo.residual.encode", inputs: { residual: [[first.ids.length, width], rows] } });
    const indices = numbers(codes["feature_indices"]);
    const shape = codes["feature_indices"]?.shape ?? [];
    const acts: readonly [readonly number[], Float32Array] = [shape, Float32Array.from(numbers(codes["feature_acts"]))];
    const decoded = await infer(service, { model: "demo.residual.decode", inputs: { feature_indices: [shape, BigInt64Array.from(indices, BigInt)], feature_acts: acts } });
    expect(decoded["residual"]?.shape).toEqual([first.ids.length, width]);
    let [error, size] = [0, 0];
    for (const [i, value] of numbers(decoded["residual"]).entries()) {
      if (i < width) continue;
      error += (value - (rows[i] ?? 0)) ** 2;
      size += (rows[i] ?? 0) ** 2;
    }
    expect(error / size).toBeLessThan(0.5);
  });

  it("keeps the strongest features when asked, and refuses other widths", async () => {
    const rows = (await residualOf(first.ids)).slice(width, 3 * width);
    const codes = await infer(service, { model: "demo.residual.encode", inputs: { residual: [[2, width], rows] }, parameters: { top_features: 5 } });
    expect(codes["feature_acts"]?.shape).toEqual([2, 5]);
    await expect(infer(service, { model: "demo.residual.encode", inputs: { residual: [[1, 3], Float32Array.of(1, 2, 3)] } })).rejects.toThrow(refused(Code.InvalidArgument, "[N, 192]"));
    const bad = { feature_indices: [[1, 1], Uint32Array.of(9999)] as const, feature_acts: [[1, 1], Float32Array.of(1)] as const };
    await expect(infer(service, { model: "demo.residual.decode", inputs: bad })).rejects.toThrow(refused(Code.InvalidArgument, "9999"));
  });
});
