import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { type Operation, OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SteeringService, type SteeringSuggestion, type SteeringSuggestions, SteeringSuggestionsSchema } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { createClient } from "@mistral-sae/rpc";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sae, type ServiceProcess, startProcess, startSystem, type TestSystem } from "./support/system.ts";

let system: TestSystem;

beforeAll(async () => {
  system = await startSystem();
});

afterAll(async () => {
  await system.close();
});

async function startSteering(folder: string): Promise<ServiceProcess> {
  return await startProcess("steering", {
    MISTRAL_SAE_DATA: join(system.data, folder),
    MISTRAL_SAE_INFERENCE: system.inferenceAddress,
    MISTRAL_SAE_FEATURE_INDEX: system.indexAddress,
  });
}

const request = { sae, numFeatures: 3, numSamples: 8, maxTokens: 30, seed: 11n, requestId: "r" };

function suggestionsOf(operation: Operation | undefined): SteeringSuggestions {
  const result = operation?.result.case === "response" ? anyUnpack(operation.result.value, SteeringSuggestionsSchema) : undefined;
  if (result === undefined) throw new Error(operation?.result.case === "error" ? operation.result.value.message : "no result");
  return result;
}

test("features that steer are found, measured and proven; a killed search goes on and ends with the same result", async () => {
  const whole = await startSteering("whole");
  const { operation: begun } = await createClient(SteeringService, whole.address).suggestSteering(request);
  const undisturbed = (await createClient(OperationService, whole.address).waitOperation({ name: begun?.name ?? "" })).operation;
  const { suggestions, nTried } = suggestionsOf(undisturbed);
  // One of the eight features never fires.
  expect(nTried).toBe(7);
  expect(suggestions).toHaveLength(3);
  for (const suggestion of suggestions) {
    const [word] = suggestion.conceptWords;
    expect(suggestion).toMatchObject({ unit: StrengthUnit.RESID_NORM_FRACTION, description: `fires on “${word}”`, conceptWords: [word, "zebra"] });
    expect(suggestion.lift).toBeGreaterThanOrEqual(5);
    expect(suggestion.steeredNll - suggestion.baselineNll).toBeLessThanOrEqual(1);
    expect(suggestion.appliedSteps).toBe(suggestion.expectedSteps);
    expect(suggestion.appliedSteps).toBeGreaterThan(0n);
    expect(suggestion.resolvedStrength).toBeGreaterThan(0);
    expect(suggestion.steeredText).not.toBe(suggestion.baselineText);
  }
  expect(suggestions.map(({ lift }) => lift)).toEqual(suggestions.map(({ lift }) => lift).toSorted((a, b) => b - a));

  // Words without a strength take the measured one from now on.
  const [best] = suggestions;
  const query = best?.conceptWords[0] ?? "";
  const events = createClient(SteeringService, whole.address).steer({ prompt: { prompt: { case: "text", value: "One day," } }, sampling: { maxTokens: 4 }, variants: [{ variantId: "w", queries: [{ sae, query }] }] });
  const strengths: number[] = [];
  for await (const { resolvedQueries } of events) strengths.push(...resolvedQueries.map(({ strength }) => strength));
  expect(strengths).toEqual([best?.strength]);
  expect(await whole.stop()).toBe(0);

  let killed = await startSteering("killed");
  const { operation } = await createClient(SteeringService, killed.address).suggestSteering(request);
  const name = operation?.name ?? "";
  for (let kills = 0; kills < 3; kills++) {
    await sleep(150 + 250 * kills);
    await killed.stop("SIGKILL");
    killed = await startSteering("killed");
  }
  const done = (await createClient(OperationService, killed.address).waitOperation({ name })).operation;
  // Other work in the same batch moves the last bits of a likelihood, and nothing else.
  const rounded = (list: readonly SteeringSuggestion[]) => list.map((one) => ({ ...one, baselineNll: one.baselineNll.toFixed(4), steeredNll: one.steeredNll.toFixed(4), resolvedStrength: one.resolvedStrength.toFixed(3) }));
  expect(rounded(suggestionsOf(done).suggestions)).toEqual(rounded(suggestions));
  await killed.stop();
});

test("a search goes on when the inference service is killed under it and comes back", async () => {
  const steering = await startSteering("bereft");
  const { operation } = await createClient(SteeringService, steering.address).suggestSteering({ ...request, requestId: "bereft", numFeatures: 1 });
  const operations = createClient(OperationService, steering.address);
  for await (const { operation: seen } of operations.watchOperation({ name: operation?.name ?? "" })) {
    if (seen?.progress?.stage === "screen" || seen?.progress?.stage === "measure") break;
  }
  await system.killInference();
  const done = (await operations.waitOperation({ name: operation?.name ?? "" })).operation;
  expect(suggestionsOf(done).suggestions).toHaveLength(1);
  expect(done?.progress?.warnings.join()).toContain("repeated after");
  expect(await steering.stop()).toBe(0);
});

test("a search that finds too few says so, and one for given features looks at no others", async () => {
  const steering = await startSteering("few");
  const { operation } = await createClient(SteeringService, steering.address).suggestSteering({ ...request, requestId: "few", featureIndices: [4, 7], numFeatures: 2 });
  const done = (await createClient(OperationService, steering.address).waitOperation({ name: operation?.name ?? "" })).operation;
  const { suggestions, nTried } = suggestionsOf(done);
  expect(nTried).toBe(1);
  expect(suggestions.map(({ feature }) => feature?.featureIndex)).toEqual([4]);
  expect(done?.progress?.warnings[0]).toContain("1 of 2 features");
  await steering.stop();
});
