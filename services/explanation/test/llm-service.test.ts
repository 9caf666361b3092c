import { ExplanationStatus, ScoreType } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { Code } from "@mistral-sae/rpc";
import { afterEach, expect, test } from "vitest";
import { type Answer, type FakeLlm, passagesOf, type SeenCall } from "./fake-llm.ts";
import { sae } from "./fake-feature-index.ts";
import { resultOf, type RunningService, startService } from "./running-service.ts";

let service: RunningService;

afterEach(async () => {
  await service.close();
});

const isJudge = (call: SeenCall): boolean => (call.body.messages.at(-1)?.content ?? "").startsWith("Description:");

/** Explains by the word that stands in the marks, and judges by whether the description's word occurs. */
function cleverAnswer(call: SeenCall): Answer {
  const user = call.body.messages.at(-1)?.content ?? "";
  if (!isJudge(call)) return JSON.stringify({ explanation: `the word ${/<<(\w+)>>/.exec(user)?.[1] ?? /Fires on: \["(\w+)"/.exec(user)?.[1] ?? "sea"}` });
  const word = /the word (\w+)/.exec(user)?.[1] ?? "-";
  const marked = user.includes("<<");
  return JSON.stringify({ answers: passagesOf(call).map((text) => (text.includes(marked ? `<<${word}>>` : word) ? 1 : 0)) });
}

function llm(): FakeLlm {
  if (service.llm === undefined) throw new Error("the service has no endpoint");
  return service.llm;
}

test("each method shows its evidence and stores what it was made by", async () => {
  service = await startService(20, cleverAnswer);
  const expectations = {
    eleuther_acts_top20: ["<<king>>", "20. word19"],
    "np_max-act-logits": ['Fires on: ["king"]', 'Made likelier: ["queen","ish"]', 'Right after: ["and"]'],
    "oai_token-act-pair": [" king\t10", " the\t0"],
  };
  for (const [explanationType, parts] of Object.entries(expectations)) {
    const { explanation } = await service.explanation.explain({ feature: `${sae}/features/0`, config: { explanationType, seed: 7n } });
    expect(explanation).toMatchObject({
      status: ExplanationStatus.OK,
      explanationType,
      explanationModel: "m",
      usage: { promptTokens: 100, completionTokens: 10 },
      config: { temperature: 0, seed: 7n },
    });
    expect(explanation?.costUsd).toBeCloseTo((100 * 1000 + 10 * 10_000) / 1e6, 9);
    expect(explanation?.templateSha256).toMatch(/^[0-9a-f]{64}$/);
    expect(explanation?.exampleSequenceIds.length).toBeGreaterThan(5);
    const call = llm().calls.at(-1);
    const user = call?.body.messages.at(-1)?.content ?? "";
    for (const part of parts) expect(user).toContain(part);
    expect(user).not.toContain("<s>");
    expect(call?.body).toMatchObject({ temperature: 0, seed: 7 });
  }
  expect((await service.explanation.explain({ feature: `${sae}/features/0` })).explanation?.explanationType).toBe("eleuther_acts_top20");
});

test("an unusable reply gives a FAILED explanation with its cost and no words", async () => {
  service = await startService(20, () => "I cannot say.");
  const { explanation } = await service.explanation.explain({ feature: `${sae}/features/0` });
  expect(explanation).toMatchObject({ status: ExplanationStatus.FAILED, description: "", usage: { promptTokens: 100 } });
  expect(explanation?.statusReason).toContain("I cannot say.");
  expect(service.index.published.size).toBe(0);
  await expect(service.explanation.scoreExplanation({ name: explanation?.name ?? "" })).rejects.toMatchObject({ reason: "NO_DESCRIPTION" });
  llm().answer = cleverAnswer;
  const retried = await service.explanation.explain({ feature: `${sae}/features/0` });
  expect(retried.explanation?.status).toBe(ExplanationStatus.OK);
});

test("detection and fuzz tell a right explanation from a random other one, on passages it was not made from", async () => {
  service = await startService(20, cleverAnswer);
  await service.explanation.explain({ feature: `${sae}/features/1` });
  const { explanation } = await service.explanation.explain({ feature: `${sae}/features/0` });
  const config = { scoreTypes: [ScoreType.DETECTION, ScoreType.FUZZ], nTest: 13, nNonActivating: 9, seed: 3n };
  const { scores } = await service.explanation.scoreExplanation({ name: explanation?.name ?? "", config });
  expect(scores.map(({ scoreType }) => scoreType)).toEqual([ScoreType.DETECTION, ScoreType.FUZZ]);
  for (const score of scores) {
    expect(score).toMatchObject({ n: 22, nFailed: 0, metrics: { balancedAccuracy: 1, precision: 1, recall: 1, f1: 1 } });
    expect(score.randomControl).toEqual(expect.objectContaining({ balancedAccuracy: 0.5, recall: 0 }));
    expect(score.randomControl?.precision).toBeUndefined();
    expect(score.examples).toHaveLength(22);
    const shown = new Set(explanation?.exampleSequenceIds);
    expect(score.examples.some(({ sequenceId }) => shown.has(sequenceId))).toBe(false);
    // 22 passages, 5 a prompt, the control as well: 10 calls.
    expect(score.usage).toMatchObject({ promptTokens: 1000, completionTokens: 100 });
  }
  const calls = llm().calls.length;
  const again = await service.explanation.scoreExplanation({ name: explanation?.name ?? "", config });
  expect(again.scores).toEqual(scores);
  expect(llm().calls).toHaveLength(calls);
  const stored = await service.explanation.getExplanation({ name: explanation?.name ?? "" });
  expect(stored.explanation?.scores).toHaveLength(2);
  expect(service.index.published.get(explanation?.name ?? "")?.summary?.score).toBe(1);
});

test("a judge whose reply has the wrong length has failed on that batch only, and the count says so", async () => {
  service = await startService(20, cleverAnswer);
  const { explanation } = await service.explanation.explain({ feature: `${sae}/features/0` });
  let judged = 0;
  llm().answer = (call) => {
    judged += 1;
    // Batches of 5, 5 and 2: the last one answers five.
    return judged === 2 ? '{"answers":[1,0]}' : passagesOf(call).length === 2 ? '{"answers":[1,0,0,0,0]}' : cleverAnswer(call);
  };
  const config = { nTest: 6, nNonActivating: 6, randomControl: false, maxConcurrency: 1 };
  const { scores } = await service.explanation.scoreExplanation({ name: explanation?.name ?? "", config });
  expect(scores[0]).toMatchObject({ n: 12, nFailed: 7 });
  expect(scores[0]?.examples.filter(({ prediction }) => prediction === undefined)).toHaveLength(7);
  expect(scores[0]?.randomControl).toBeUndefined();
});

test("a batch meets rate limits, errors and bad replies, and each feature is paid once", async () => {
  service = await startService(60, cleverAnswer);
  llm().answer = (call, n) => {
    if (n % 5 === 0) return { status: 429, headers: { "retry-after": "0.01" } };
    if (n % 7 === 0) return { status: 500, headers: { "retry-after": "0.01" } };
    return (call.body.messages.at(-1)?.content ?? "").includes("<<truck>>") ? "no JSON" : cleverAnswer(call);
  };
  const { operation } = await service.explanation.batchExplain({ parent: sae, config: { maxConcurrency: 8 }, requestId: "x" });
  const counts = resultOf((await service.operations.waitOperation({ name: operation?.name ?? "" })).operation);
  // 54 live features, a third of them trucks.
  expect(counts).toMatchObject({ nOk: 36n, nFailed: 18n, nSkipped: 0n, usage: { promptTokens: 5400, completionTokens: 540 } });
  expect(counts.costUsd).toBeCloseTo(54 * 0.2, 9);
  const paid = llm().calls.length - llm().calls.filter((_call, i) => (i + 1) % 5 === 0 || (i + 1) % 7 === 0).length;
  expect(paid).toBe(54);
});

test("a budget is never exceeded, and what it left out is counted and warned of", async () => {
  service = await startService(40, cleverAnswer);
  const maxTokens = 10;
  const { operation } = await service.explanation.batchExplain({ parent: sae, config: { maxTokens, maxConcurrency: 3 }, maxCostUsd: 3 });
  const done = (await service.operations.waitOperation({ name: operation?.name ?? "" })).operation;
  const counts = resultOf(done);
  expect(counts.costUsd).toBeLessThanOrEqual(3);
  expect(counts.nOk + counts.nSkipped).toBe(36n);
  expect(counts.nOk).toBeGreaterThan(5n);
  expect(done?.progress?.warnings.join()).toMatch(/budget/);
  await expect(service.explanation.explain({ feature: `${sae}/features/0`, config: { clientId: "nobody" } })).rejects.toMatchObject({
    code: Code.InvalidArgument,
  });
});

test("a budget for a model without a price fails before any call", async () => {
  service = await startService(20, cleverAnswer);
  const { operation } = await service.explanation.batchExplain({ parent: sae, config: { explanationModel: "unpriced" }, maxCostUsd: 1 });
  const done = (await service.operations.waitOperation({ name: operation?.name ?? "" })).operation;
  expect(done?.state).toBe(OperationState.FAILED);
  expect(JSON.stringify(done?.result, (_k, v: unknown) => (typeof v === "bigint" ? String(v) : v))).toContain("MISTRAL_SAE_LLM_PRICES");
  expect(llm().calls).toHaveLength(0);
});

test("a batch explains and scores; scoring a batch again finds the scores", async () => {
  service = await startService(10, cleverAnswer);
  const score = { nTest: 5, nNonActivating: 5, randomControl: false };
  const first = await service.explanation.batchExplain({ parent: sae, score, requestId: "s1" });
  const done = (await service.operations.waitOperation({ name: first.operation?.name ?? "" })).operation;
  expect(resultOf(done)).toMatchObject({ nOk: 9n });
  expect(Object.keys(done?.progress?.stageSeconds ?? {})).toEqual(["explain", "score"]);
  const { explanations } = await service.explanation.listExplanations({ parent: sae });
  expect(explanations.every(({ scores }) => scores.length === 1 && scores[0]?.metrics?.balancedAccuracy === 1)).toBe(true);
  const calls = llm().calls.length;
  const second = await service.explanation.batchScoreExplanations({ parent: sae, config: score, requestId: "s2" });
  const counts = resultOf((await service.operations.waitOperation({ name: second.operation?.name ?? "" })).operation);
  expect(counts).toMatchObject({ nOk: 0n, nExisting: 9n, costUsd: 0 });
  expect(llm().calls).toHaveLength(calls);
});

test("the estimate counts calls, tokens and money", async () => {
  service = await startService(20, cleverAnswer);
  const estimate = await service.explanation.estimateCost({ parent: sae, score: { scoreTypes: [ScoreType.DETECTION, ScoreType.FUZZ] } });
  // 18 live features: one explanation, and two scorers of 20 prompts with as many for the control.
  expect(estimate.nCalls).toBe(18n + 18n * 2n * 40n);
  expect(estimate.costUsd).toBeGreaterThan(0);
  const unpriced = await service.explanation.estimateCost({ parent: sae, nFeatures: 5n, config: { explanationModel: "other" } });
  expect(unpriced).toMatchObject({ nCalls: 5n });
  expect(unpriced.costUsd).toBeUndefined();
});
