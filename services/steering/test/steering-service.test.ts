import { join } from "node:path";
import { Comparison, ConditionAction, SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { type ResolvedQuery, SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type Client, Code, createClient, type RunningServer, startServer } from "@mistral-sae/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type OpenSteeringService, openSteeringService, suggestDefaults } from "../src/index.ts";
import { sae, startSystem, type TestSystem } from "./support/system.ts";

let system: TestSystem;
let service: OpenSteeringService;
let server: RunningServer;
let steering: Client<typeof SteeringService>;
let operations: Client<typeof OperationService>;

beforeAll(async () => {
  system = await startSystem();
  service = await openSteeringService({
    listen: "",
    data: join(system.data, "steering"),
    inference: system.inferenceAddress,
    featureIndex: system.indexAddress,
    suggest: suggestDefaults,
  });
  server = await startServer({ listen: "127.0.0.1:0", services: service.implementations });
  steering = createClient(SteeringService, server.address);
  operations = createClient(OperationService, server.address);
});

afterAll(async () => {
  await service.close();
  await server.close(100);
  await system.close();
});

const prompt = { prompt: { case: "text" as const, value: "Once upon a time, there was a" } };
const sampling = { temperature: 0.7, maxTokens: 24, seed: 5n };
const feature = (featureIndex: number) => ({ case: "feature" as const, value: { sae, featureIndex } });
const add = (featureIndex: number, strength: number) => ({ target: feature(featureIndex), method: SteeringMethod.ADD, strength, unit: StrengthUnit.RESID_NORM_FRACTION });

type SteerVariants = Parameters<typeof steering.steer>[0]["variants"];

async function steer(request: { readonly variants: NonNullable<SteerVariants>; readonly withoutBaseline?: boolean }) {
  const texts = new Map<string, string>();
  const applied = new Map<string, [number, number]>();
  let resolved: readonly ResolvedQuery[] = [];
  const methods: SteeringMethod[] = [];
  const strengths: (number | undefined)[] = [];
  for await (const { event, resolvedQueries } of steering.steer({ prompt, sampling, ...request })) {
    if (resolvedQueries.length > 0) resolved = resolvedQueries;
    if (event?.event.case === "started") {
      for (const { interventions } of event.event.value.resolvedVariants) {
        methods.push(...interventions.map(({ method }) => method));
        strengths.push(...interventions.map(({ strength }) => strength));
      }
    } else if (event?.event.case === "step") {
      const { variantId, textDelta } = event.event.value;
      texts.set(variantId, (texts.get(variantId) ?? "") + textDelta);
    } else if (event?.event.case === "finished") {
      const { variantId, steeringAppliedSteps, steeringExpectedSteps } = event.event.value;
      applied.set(variantId, [steeringAppliedSteps, steeringExpectedSteps]);
    }
  }
  return { texts, applied, resolved, methods, strengths };
}

describe("Steer", () => {
  test("streams baseline and steered text of one batch, with proof for every step", async () => {
    const { texts, applied } = await steer({ variants: [{ variantId: "king", interventions: [add(0, 0.5)] }] });
    expect(texts.get("king")).toContain("king");
    expect(texts.get("baseline")).not.toContain("king");
    expect(applied.get("king")).toEqual([23, 23]);
    let alone = "";
    for await (const { event } of system.inference.generate({ prompt, sampling })) if (event.case === "step") alone += event.value.textDelta;
    expect(texts.get("baseline")).toBe(alone);
  });

  test("leaves the baseline out when asked, and finds features by words", async () => {
    const { texts, resolved } = await steer({ withoutBaseline: true, variants: [{ variantId: "w", queries: [{ sae, query: "the sea" }] }] });
    expect([...texts.keys()]).toEqual(["w"]);
    expect(resolved).toMatchObject([{ variantId: "w", query: "the sea", feature: { sae, featureIndex: 2 }, description: "fires on “sea”", strength: 0.35, unit: StrengthUnit.RESID_NORM_FRACTION }]);
  });

  test("takes the only SAE that is READY where a query names none, and says which words found nothing", async () => {
    const { resolved } = await steer({ variants: [{ variantId: "w", queries: [{ query: "cake", strength: 0.2 }] }] });
    expect(resolved[0]).toMatchObject({ feature: { sae, featureIndex: 3 }, strength: 0.2 });
    await expect(steer({ variants: [{ variantId: "w", queries: [{ query: "quantum" }] }] })).rejects.toMatchObject({ code: Code.NotFound });
  });

  test("resolves multiples of the largest activation from the index, for ADD through the SAE's own decode", async () => {
    const set = { target: feature(1), method: SteeringMethod.FEATURE_SET, strength: 1.5, unit: StrengthUnit.MAX_ACTIVATION };
    const added = { ...add(1, 2), unit: StrengthUnit.MAX_ACTIVATION };
    const { methods, strengths } = await steer({ variants: [{ variantId: "a", interventions: [set] }, { variantId: "b", interventions: [added] }] });
    expect(strengths).toEqual([15, 20]);
    expect(methods).toEqual([SteeringMethod.FEATURE_SET, SteeringMethod.FEATURE_ADD]);
    await expect(steer({ variants: [{ variantId: "a", interventions: [{ ...set, target: feature(7) }] }] })).rejects.toMatchObject({ reason: "MAX_ACTIVATION_UNKNOWN" });
    await expect(
      steer({ variants: [{ variantId: "a", interventions: [{ target: feature(1), method: SteeringMethod.FEATURE_SCALE, strength: 1, unit: StrengthUnit.MAX_ACTIVATION }] }] }),
    ).rejects.toMatchObject({ reason: "STEERING_FIELD_NOT_APPLICABLE" });
  });

  test("passes conditions on, of interventions and of presets", async () => {
    const condition = { feature: { sae, featureIndex: 0 }, comparison: Comparison.GREATER, threshold: 1e6 };
    const { texts, applied } = await steer({ variants: [{ variantId: "king", interventions: [{ ...add(0, 0.5), conditions: [condition] }] }] });
    expect(applied.get("king")).toEqual([0, 0]);
    expect(texts.get("king")).toBe(texts.get("baseline"));
    const abort = { ...condition, threshold: 0, comparison: Comparison.GREATER_EQUAL, action: ConditionAction.ABORT };
    await steering.createSteeringPreset({ steeringPresetId: "ends", steeringPreset: { displayName: "Ends", interventions: [{ ...add(0, 0.5), conditions: [abort] }] } });
    const ended = await steer({ variants: [{ variantId: "v", interventions: [{ target: { case: "preset", value: "steeringPresets/ends" } }] }] });
    expect(ended.texts.get("v")).toBeUndefined();
    await steering.deleteSteeringPreset({ name: "steeringPresets/ends" });
  });

  test("refuses no variants, empty ones, names twice and a variant named like the baseline", async () => {
    const interventions = [add(0, 0.3)];
    for (const variants of [[], [{ variantId: "a" }], [{ variantId: "", interventions }], [{ variantId: "a", interventions }, { variantId: "a", interventions }], [{ variantId: "baseline", interventions }]]) {
      await expect(steer({ variants })).rejects.toMatchObject({ code: Code.InvalidArgument });
    }
    await expect(steer({ variants: [{ variantId: "a", interventions: [add(8, 0.3)] }] })).rejects.toMatchObject({ reason: "FEATURE_OUT_OF_RANGE" });
  });
});

describe("presets", () => {
  test("are stored, steered with, changed under an etag, listed and deleted", async () => {
    const { steeringPreset } = await steering.createSteeringPreset({ steeringPresetId: "royal", steeringPreset: { displayName: "Royal", interventions: [add(0, 0.5)] } });
    expect(steeringPreset).toMatchObject({ name: "steeringPresets/royal", displayName: "Royal" });
    const direct = await steer({ variants: [{ variantId: "v", interventions: [add(0, 0.5)] }] });
    const byPreset = await steer({ variants: [{ variantId: "v", interventions: [{ target: { case: "preset", value: "steeringPresets/royal" } }] }] });
    expect(byPreset.texts).toEqual(direct.texts);

    const etag = steeringPreset?.etag ?? "";
    const changed = await steering.updateSteeringPreset({ steeringPreset: { name: "steeringPresets/royal", displayName: "Throne", etag }, updateFields: ["display_name"] });
    expect(changed.steeringPreset).toMatchObject({ displayName: "Throne", interventions: [{ strength: 0.5 }] });
    expect(changed.steeringPreset?.etag).not.toBe(etag);
    const stale = { steeringPreset: { name: "steeringPresets/royal", displayName: "Old", etag }, updateFields: ["display_name"] };
    await expect(steering.updateSteeringPreset(stale)).rejects.toMatchObject({ code: Code.Aborted, reason: "ETAG_MISMATCH" });
    await expect(steering.deleteSteeringPreset({ name: "steeringPresets/royal", etag })).rejects.toMatchObject({ reason: "ETAG_MISMATCH" });

    await steering.createSteeringPreset({ steeringPresetId: "animal", steeringPreset: { interventions: [add(1, 0.3), add(4, 0.3)] } });
    const first = await steering.listSteeringPresets({ pageSize: 1 });
    const second = await steering.listSteeringPresets({ pageSize: 1, pageToken: first.nextPageToken });
    expect([...first.steeringPresets, ...second.steeringPresets].map(({ name }) => name)).toEqual(["steeringPresets/animal", "steeringPresets/royal"]);
    expect(second.nextPageToken).toBe("");
    await steering.deleteSteeringPreset({ name: "steeringPresets/royal" });
    await expect(steering.getSteeringPreset({ name: "steeringPresets/royal" })).rejects.toMatchObject({ code: Code.NotFound });
  });

  test("are refused when empty, nested, named badly, or mixed with an edit of their own", async () => {
    const create = (steeringPresetId: string, interventions: readonly object[]) => steering.createSteeringPreset({ steeringPresetId, steeringPreset: { interventions: [...interventions] } });
    await expect(create("Bad Name", [add(0, 1)])).rejects.toMatchObject({ code: Code.InvalidArgument });
    await expect(create("empty", [])).rejects.toMatchObject({ violations: [{ field: "steering_preset.interventions" }] });
    await expect(create("nested", [{ target: { case: "preset", value: "steeringPresets/x" } }])).rejects.toMatchObject({ code: Code.InvalidArgument });
    const mixed = { target: { case: "preset" as const, value: "steeringPresets/animal" }, strength: 2 };
    await expect(steer({ variants: [{ variantId: "v", interventions: [mixed] }] })).rejects.toMatchObject({ violations: [{ field: "variants[0].interventions[0].strength" }] });
  });
});

describe("the other calls", () => {
  test("FindFeatures gives features with their tokens and largest activation", async () => {
    const { features } = await steering.findFeatures({ query: "a dog and a bird" });
    expect(features.map(({ feature: found }) => found?.featureIndex)).toEqual([1, 4]);
    expect(features[0]).toMatchObject({ description: "fires on “dog”", topTokens: [" dog", " zebra", "s"], maxActivation: 10 });
    await expect(steering.findFeatures({ query: " " })).rejects.toMatchObject({ code: Code.InvalidArgument });
  });

  test("ValidateSteering says what would be edited where, and why what would not", async () => {
    const interventions = [
      { ...add(0, 0.3), positions: { include: { promptPositions: [-1] } } },
      { ...add(1, 2), unit: StrengthUnit.MAX_ACTIVATION },
      { target: feature(9), method: SteeringMethod.ADD, strength: 1 },
      { target: feature(1), method: SteeringMethod.ABLATE, strength: 1 },
    ];
    const { interventions: checked } = await steering.validateSteering({ prompt, interventions });
    // BOS, which is special, and eight tokens.
    expect(checked[0]).toMatchObject({ promptPositions: [8], refusalReason: "", intervention: { normalize: false } });
    expect(checked[1]).toMatchObject({ promptPositions: [1, 2, 3, 4, 5, 6, 7, 8], intervention: { method: SteeringMethod.FEATURE_ADD, strength: 20 } });
    expect(checked[2]?.refusalReason).toContain("interventions[2].feature.feature_index: got 9, wanted less than 8");
    expect(checked[3]?.refusalReason).toContain("interventions[3].strength");
  });

  test("SweepSteering gives the baseline first, then each strength with text, divergence, likelihood and activation", async () => {
    const points = [];
    for await (const { point } of steering.sweepSteering({ prompt, sampling, intervention: { ...add(0, 0) }, strengths: [0.2, 0.6] })) if (point !== undefined) points.push(point);
    expect(points.map(({ strength }) => strength)).toEqual([0, 0.2, 0.6]);
    const [baseline, weak, strong] = points;
    expect(baseline?.meanKl).toBe(0);
    expect(strong?.meanKl).toBeGreaterThan(weak?.meanKl ?? Infinity);
    expect(strong?.meanNll).toBeGreaterThan(baseline?.meanNll ?? Infinity);
    expect(strong?.text).toContain("king");
    expect(points.every(({ featureActivation }) => featureActivation !== undefined)).toBe(true);
    const neutral = [];
    for await (const { point } of steering.sweepSteering({ prompt, sampling, intervention: add(0, 1), strengths: [0, 0.6] })) if (point !== undefined) neutral.push(point);
    expect(neutral.map(({ strength, text }) => [strength, text])).toEqual([[0, baseline?.text], [0, baseline?.text], [0.6, strong?.text]]);
    await expect(steering.sweepSteering({ prompt, strengths: [1] })[Symbol.asyncIterator]().next()).rejects.toMatchObject({ violations: [{ field: "intervention" }] });
  });

  test("operations of the service are listed by it", async () => {
    expect((await operations.listOperations({})).operations).toEqual([]);
  });
});
