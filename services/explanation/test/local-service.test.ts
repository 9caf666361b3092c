import { ExplanationStatus } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { Code } from "@mistral-sae/rpc";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { sae } from "./fake-feature-index.ts";
import { resultOf, type RunningService, startService } from "./running-service.ts";

let service: RunningService;

beforeEach(async () => {
  service = await startService(400);
});

afterEach(async () => {
  await service.close();
});

describe("without a language model", () => {
  test("a feature gets a local summary, labelled as such, kept and given to the index", async () => {
    const { explanation } = await service.explanation.explain({ feature: `${sae}/features/3` });
    expect(explanation).toMatchObject({
      status: ExplanationStatus.OK,
      explanationType: "local_summary",
      explanationModel: "",
      templateId: "local-summary-v1",
      costUsd: 0,
    });
    expect(explanation?.description).toContain("“king”");
    expect(explanation?.templateSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(explanation?.exampleSequenceIds).toHaveLength(5);
    const name = explanation?.name ?? "";
    expect((await service.explanation.getExplanation({ name })).explanation).toEqual(explanation);
    expect(service.index.published.get(name)).toMatchObject({ feature: `${sae}/features/3`, summary: { explanationType: "local_summary" } });
  });

  test("the same explanation is made once, again by force, and anew for another index", async () => {
    const feature = `${sae}/features/4`;
    const first = await service.explanation.explain({ feature });
    const again = await service.explanation.explain({ feature });
    expect(again.explanation).toEqual(first.explanation);
    expect(service.index.read).toEqual([4]);
    await service.explanation.explain({ feature, force: true });
    expect(service.index.read).toEqual([4, 4]);
    service.index.digest = "d1";
    const other = await service.explanation.explain({ feature });
    expect(other.explanation?.name).toBe(first.explanation?.name);
    expect(service.index.read).toEqual([4, 4, 4]);
  });

  test("a feature that never fires is SKIPPED with the reason and not shown by the index", async () => {
    const { explanation } = await service.explanation.explain({ feature: `${sae}/features/9` });
    expect(explanation).toMatchObject({ status: ExplanationStatus.SKIPPED, statusReason: "the feature never fires in the index", description: "" });
    expect(service.index.published.size).toBe(0);
  });

  test("all live features are explained by one operation, and by a second one found made", async () => {
    const { operation } = await service.explanation.batchExplain({ parent: sae, requestId: "b1" });
    const done = (await service.operations.waitOperation({ name: operation?.name ?? "" })).operation;
    expect(resultOf(done)).toMatchObject({ nOk: 360n, nFailed: 0n, nSkipped: 0n, nExisting: 0n, costUsd: 0 });
    expect(done?.progress).toMatchObject({ stage: "explain", doneUnits: 360n, totalUnits: 360n, unit: "features" });
    expect(service.index.published.size).toBe(360);
    const repeated = await service.explanation.batchExplain({ parent: sae, requestId: "b1" });
    expect(repeated.operation?.name).toBe(operation?.name);
    const second = await service.explanation.batchExplain({ parent: sae, requestId: "b2", featureIndices: [5, 3, 9, 3] });
    const counts = resultOf((await service.operations.waitOperation({ name: second.operation?.name ?? "" })).operation);
    expect(counts).toMatchObject({ nOk: 0n, nExisting: 2n, nSkipped: 1n });
  });

  test("explanations are listed by feature in pages, rated and deleted", async () => {
    const { operation } = await service.explanation.batchExplain({ parent: sae, featureIndices: [1, 2, 3, 4, 5] });
    await service.operations.waitOperation({ name: operation?.name ?? "" });
    const first = await service.explanation.listExplanations({ parent: sae, pageSize: 3 });
    const second = await service.explanation.listExplanations({ parent: sae, pageSize: 3, pageToken: first.nextPageToken });
    const names = [...first.explanations, ...second.explanations].map(({ name }) => name);
    expect(names.map((name) => name.split("/")[5])).toEqual(["1", "2", "3", "4", "5"]);
    expect(second.nextPageToken).toBe("");
    expect((await service.explanation.listExplanations({ parent: `${sae}/features/2` })).explanations).toHaveLength(1);

    const name = names[0] ?? "";
    await service.explanation.rateExplanation({ name, vote: 1, rater: "ann" });
    await service.explanation.rateExplanation({ name, vote: 1, rater: "bob" });
    const rated = await service.explanation.rateExplanation({ name, vote: -1, rater: "ann", comment: "too broad" });
    expect(rated.explanation?.votes).toBe(0n);
    await service.explanation.rateExplanation({ name, vote: 0, rater: "ann" });
    expect((await service.explanation.getExplanation({ name })).explanation?.votes).toBe(1n);
    expect(service.index.published.has(name)).toBe(true);
    await service.explanation.deleteExplanation({ name });
    expect(service.index.published.has(name)).toBe(false);
    await expect(service.explanation.getExplanation({ name })).rejects.toMatchObject({ code: Code.NotFound });
  });

  test("what needs a language model says so", async () => {
    const feature = `${sae}/features/1`;
    await expect(service.explanation.explain({ feature, config: { explanationType: "eleuther_acts_top20" } })).rejects.toMatchObject({
      code: Code.FailedPrecondition,
      reason: "LLM_NOT_CONFIGURED",
    });
    await expect(service.explanation.batchExplain({ parent: sae, config: { explanationType: "np_max-act-logits" } })).rejects.toMatchObject({
      reason: "LLM_NOT_CONFIGURED",
    });
    const { types } = await service.explanation.listExplanationTypes({});
    expect(types.map(({ type, available }) => [type, available])).toEqual([
      ["local_summary", true],
      ["eleuther_acts_top20", false],
      ["np_max-act-logits", false],
      ["oai_token-act-pair", false],
    ]);
    expect(types[1]?.unavailableReason).toContain("MISTRAL_SAE_LLM_BASE_URL");
    const scorers = (await service.explanation.listScoreTypes({})).types;
    expect(scorers.every(({ available, unavailableReason }) => !available && unavailableReason !== "")).toBe(true);
    const { explanation } = await service.explanation.explain({ feature });
    await expect(service.explanation.scoreExplanation({ name: explanation?.name ?? "" })).rejects.toMatchObject({ reason: "LOCAL_SUMMARY" });
  });

  test("a local batch costs nothing", async () => {
    expect(await service.explanation.estimateCost({ parent: sae })).toMatchObject({ nCalls: 0n, promptTokens: 0n, costUsd: 0 });
  });

  test("requests with wrong names, types and values are refused with the field", async () => {
    const refused = async (call: Promise<unknown>) => await call.then(() => undefined, (error: unknown) => error);
    expect(await refused(service.explanation.explain({ feature: "features/1" }))).toMatchObject({ code: Code.InvalidArgument, violations: [{ field: "feature" }] });
    expect(await refused(service.explanation.explain({ feature: `${sae}/features/1x` }))).toMatchObject({ code: Code.InvalidArgument });
    expect(await refused(service.explanation.explain({ feature: `${sae}/features/1`, config: { explanationType: "poetry" } }))).toMatchObject({
      violations: [{ field: "config.explanation_type" }],
    });
    expect(await refused(service.explanation.explain({ feature: `${sae}/features/1`, config: { threshold: 2 } }))).toMatchObject({ violations: [{ field: "config.threshold" }] });
    expect(await refused(service.explanation.explain({ feature: `${sae}/features/400` }))).toMatchObject({ code: Code.InvalidArgument });
    expect(await refused(service.explanation.explain({ feature: "models/demo/saes/other/features/1" }))).toMatchObject({ reason: "NOT_INDEXED" });
    expect(await refused(service.explanation.rateExplanation({ name: `${sae}/features/1/explanations/none`, vote: 1, rater: "x" }))).toMatchObject({ code: Code.NotFound });
  });
});
