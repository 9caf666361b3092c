import { rm } from "node:fs/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Comparison, ConditionAction, type InterventionSchema, SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { FinishReason, type GenerateStep } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { f32View, u32View } from "@mistral-sae/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf, type VariantEvents } from "./support/generate.ts";
import { direction, floats, ids, text } from "./support/messages.ts";
import { createSae, SAE, writeResidualSae } from "./support/residual-sae.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const prompt = text("Once upon a time, there was a little girl named Lily. She");
const sampling = { temperature: 0, maxTokens: 24 };
const push = direction(Float32Array.from({ length: 192 }, (_, d) => Math.sin(d)), "blocks.2.hook_resid_post");
type Init = MessageInitShape<typeof InterventionSchema>;

let service: TestService;
/** A feature that fires on some tokens of the plain continuation, and an activation between those of two of them. */
let featureIndex = 0;
let threshold = 0;

/** Activations of the feature at each token read. */
function activations({ steps }: VariantEvents): number[] {
  return steps.map(({ trace }: GenerateStep) => {
    const at = [...u32View(trace?.featureIndices ?? new Uint8Array())].indexOf(featureIndex);
    return at < 0 ? 0 : (f32View(trace?.activations ?? new Uint8Array())[at] ?? 0);
  });
}

beforeAll(async () => {
  service = await startService();
  const folder = await writeResidualSae(service);
  await createSae(service, "residual", folder);
  await rm(folder, { recursive: true });
  const plain = variantOf(await generate(service, { prompt, sampling, trace: { sae: SAE, topK: 32 } }));
  const seen = new Map<number, number[]>();
  for (const { trace } of plain.steps) {
    const values = f32View(trace?.activations ?? new Uint8Array());
    for (const [i, feature] of u32View(trace?.featureIndices ?? new Uint8Array()).entries()) seen.set(feature, [...(seen.get(feature) ?? []), values[i] ?? 0]);
  }
  let widest = 0;
  for (const [feature, values] of seen) {
    values.sort((a, b) => a - b);
    for (let i = 3; i < values.length - 4; i++) {
      const gap = (values[i + 1] ?? 0) - (values[i] ?? 0);
      if (gap > widest) [widest, featureIndex, threshold] = [gap, feature, (values[i] ?? 0) + gap / 2];
    }
  }
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

const when = (comparison: Comparison, more: { action?: ConditionAction; lookback?: number } = {}) => ({ feature: { sae: SAE, featureIndex }, comparison, threshold, ...more });
const generationAll = { include: { generationAll: true } };

describe("an intervention under a condition", () => {
  it.each([Comparison.GREATER, Comparison.LESS_EQUAL])("edits the tokens at which it holds, and its proof tells the others apart: %s", async (comparison) => {
    const steered: Init = { id: "push", target: push, method: SteeringMethod.ADD, strength: 0.2, conditions: [when(comparison)], positions: generationAll };
    const run = variantOf(await generate(service, { prompt, sampling, trace: { sae: SAE, featureIndices: [featureIndex] }, variants: [{ variantId: "v", interventions: [steered] }] }), "v");
    const held = activations(run).filter((activation) => (comparison === Comparison.GREATER ? activation > threshold : activation <= threshold)).length;
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThan(run.steps.length);
    expect(run.finished).toMatchObject({ steeringAppliedSteps: held, steeringExpectedSteps: held, finishReason: FinishReason.LENGTH, endedBy: "" });
    expect(run.finished?.proofs).toMatchObject([{ id: "push", appliedSteps: held, expectedSteps: held, conditionedOffSteps: run.steps.length - held, conditionedOffPositions: 0 }]);
  });

  it("that never holds leaves the text as it is, and says so", async () => {
    const steered: Init = { id: "push", target: push, method: SteeringMethod.ADD, strength: 5, conditions: [{ ...when(Comparison.GREATER), threshold: 1e6 }] };
    const run = await generate(service, { prompt, sampling, variants: [{ variantId: "plain" }, { variantId: "v", interventions: [steered] }] });
    const variant = variantOf(run, "v");
    expect(idsOf(variant)).toEqual(idsOf(variantOf(run, "plain")));
    expect(variant.finished).toMatchObject({ steeringAppliedSteps: 0, steeringExpectedSteps: 0 });
    expect(variant.finished?.proofs).toMatchObject([{ promptPositions: 0, conditionedOffPositions: 14, conditionedOffSteps: sampling.maxTokens - 1 }]);
    expect(variant.finished?.warnings).toEqual(['intervention "push" edited nothing: its conditions held at none of its 37 rows']);
  });

  it("ends the generation at the token where it is to, with all text up to it", async () => {
    const plain = variantOf(await generate(service, { prompt, sampling, trace: { sae: SAE, featureIndices: [featureIndex] } }));
    const first = activations(plain).findIndex((activation) => activation > threshold);
    const watch: Init = { id: "watch", target: push, method: SteeringMethod.ADD, strength: 1e-6, conditions: [when(Comparison.GREATER, { action: ConditionAction.ABORT })], positions: generationAll };
    for (const stop of [[], ["nothing like this"]]) {
      const run = variantOf(await generate(service, { prompt, sampling: { ...sampling, stop }, variants: [{ variantId: "v", interventions: [watch] }] }), "v");
      expect(run.finished).toMatchObject({ finishReason: FinishReason.CONDITION, endedBy: "watch", usage: { completionTokens: first + 1 } });
      expect(idsOf(run)).toEqual(idsOf(plain).slice(0, first + 1));
      const { texts } = await service.inference.detokenize({ sequences: [{ tokenIds: [...(plain.steps[0] === undefined ? [] : idsOf(run))] }] });
      expect(textOf(run).trim()).toBe(texts[0]?.trim());
    }
  });

  it("that holds in the prompt already ends it before the first token", async () => {
    const watch: Init = { id: "watch", target: push, method: SteeringMethod.ADD, strength: 1e-6, conditions: [{ ...when(Comparison.GREATER_EQUAL, { action: ConditionAction.ABORT }), threshold: 0 }] };
    const run = await generate(service, { prompt, sampling, variants: [{ variantId: "v", interventions: [watch] }, { variantId: "plain" }] });
    expect(variantOf(run, "v").steps).toEqual([]);
    expect(variantOf(run, "v").finished).toMatchObject({ finishReason: FinishReason.CONDITION, endedBy: "watch", usage: { completionTokens: 0 } });
    expect(variantOf(run, "plain").steps).toHaveLength(sampling.maxTokens);
  });
});

describe("the same interventions", () => {
  const make = (): Init[] => [
    { id: "when", target: push, method: SteeringMethod.ADD, strength: 0.5, conditions: [when(Comparison.LESS_EQUAL, { lookback: 2 })], positions: { include: { promptWindow: { start: -8 } } } },
    { id: "set", target: { case: "feature", value: { sae: SAE, featureIndex } }, method: SteeringMethod.FEATURE_SET, strength: 2 * threshold, positions: { include: { promptPositions: [3, -1] } } },
  ];

  it("are the same in Forward, GetLogits, ScoreTokens and Generate", async () => {
    const { sequences } = await service.inference.tokenize({ prompts: [prompt] });
    const tokenIds = sequences[0]?.tokenIds ?? [];
    const n = tokenIds.length;
    const positions = tokenIds.map((_, i) => i);
    const { logits } = await service.inference.getLogits({ prompt: ids(tokenIds), positions, interventions: make() });
    const all = floats(logits);
    const row = (i: number): Float32Array => all.subarray(i * 4096, (i + 1) * 4096);
    const logSum = (values: Float32Array): number => Math.log(values.reduce((sum, value) => sum + Math.exp(value), 0));

    const scores: number[] = [];
    for await (const { logprobs } of service.inference.scoreTokens({ sequences: [{ tokenIds }], interventions: make() })) scores.push(...floats(logprobs));
    expect(scores).toHaveLength(n - 1);
    for (const [i, score] of scores.entries()) expect(score).toBeCloseTo((row(i)[tokenIds[i + 1] ?? 0] ?? 0) - logSum(row(i)), 4);

    const hookName = "blocks.3.hook_resid_pre";
    const run = variantOf(
      await generate(service, {
        prompt: ids(tokenIds),
        sampling: { temperature: 0, maxTokens: 1, nLogprobs: 20 },
        variants: [{ variantId: "v", interventions: make() }],
        captures: [{ hookName, positions: { promptAll: true }, afterInterventions: true }],
      }),
      "v",
    );
    for (const { tokenId, logprob } of run.steps[0]?.logprob?.top ?? []) expect(logprob).toBeCloseTo((row(n - 1)[tokenId] ?? 0) - logSum(row(n - 1)), 4);
    const residuals: number[] = [];
    for await (const { tensor } of service.inference.forward({ prompts: [ids(tokenIds)], hookNames: [hookName], interventions: make() })) residuals.push(...floats(tensor));
    const captured = run.captured.flatMap(({ tensor }) => [...floats(tensor)]);
    expect(captured).toHaveLength(n * 192);
    expect(Math.max(...captured.map((value, i) => Math.abs(value - (residuals[i] ?? 0))))).toBeLessThan(1e-4);
    const plain = floats((await service.inference.getLogits({ prompt: ids(tokenIds) })).logits);
    expect(Math.max(...plain.map((value, i) => Math.abs(value - (row(n - 1)[i] ?? 0))))).toBeGreaterThan(0.01);
  });
});
