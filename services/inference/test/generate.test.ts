import { readFileSync } from "node:fs";
import { SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { ChatRole } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { FinishReason } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf } from "./support/generate.ts";
import { direction, floats, ids, text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

interface Golden {
  readonly text: string;
  readonly ids: number[];
  readonly greedy40_ids: number[];
  readonly greedy40_text: string;
  readonly greedy_min_margin: number;
}

const golden = JSON.parse(readFileSync(new URL("fixtures/golden.json", import.meta.url), "utf8")) as Golden[];
const story = "Once upon a time, there was a little girl named Lily. She";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

describe("a greedy generation", () => {
  it("writes the tokens of transformers for every golden prompt", async () => {
    for (const { ids: prompt, greedy40_ids, greedy40_text } of golden) {
      const run = variantOf(await generate(service, { prompt: ids(prompt), sampling: { temperature: 0, maxTokens: 40 } }));
      expect(idsOf(run)).toEqual(greedy40_ids);
      expect(textOf(run)).toBe(greedy40_text);
      expect(run.finished?.finishReason).toBe(FinishReason.LENGTH);
      expect(run.finished?.usage).toMatchObject({ promptTokens: prompt.length, completionTokens: 40 });
    }
  });

  it("gives the same for two clients at once as one after the other", async () => {
    const runs = await Promise.all(golden.map(({ ids: prompt }) => generate(service, { prompt: ids(prompt), sampling: { temperature: 0, maxTokens: 40 } })));
    expect(runs.map((run) => idsOf(variantOf(run)))).toEqual(golden.map(({ greedy40_ids }) => greedy40_ids));
  });

  it("starts from a conversation and from text with BOS", async () => {
    const chat = { prompt: { case: "chat" as const, value: { messages: [{ role: ChatRole.USER, content: "Tell me a story about a cat and a boat." }] } } };
    const run = await generate(service, { prompt: chat, sampling: { temperature: 0, maxTokens: 8 } });
    expect(run.started.prompt?.strTokens.slice(0, 3)).toEqual(["<s>", "[INST]", " T"]);
    const plain = await generate(service, { prompt: text(story), sampling: { temperature: 0, maxTokens: 8 } });
    expect(plain.started.prompt?.tokenIds).toEqual(golden[0]?.ids);
    expect(plain.started.warnings).toEqual([]);
  });
});

describe("a sampled generation", () => {
  const sampling = { temperature: 0.8, topP: 0.95, maxTokens: 30, seed: 7n };

  it("writes the same text for the same seed and another for another", async () => {
    const [first, again, other] = await Promise.all([
      generate(service, { prompt: text(story), sampling }),
      generate(service, { prompt: text(story), sampling }),
      generate(service, { prompt: text(story), sampling: { ...sampling, seed: 8n } }),
    ]);
    expect(textOf(variantOf(again))).toBe(textOf(variantOf(first)));
    expect(textOf(variantOf(other))).not.toBe(textOf(variantOf(first)));
  });

  it("reports the seed it drew, which repeats the text", async () => {
    const drawn = await generate(service, { prompt: text(story), sampling: { temperature: 0.8, maxTokens: 20 } });
    const again = await generate(service, { prompt: text(story), sampling: { temperature: 0.8, maxTokens: 20, seed: drawn.started.seed } });
    expect(textOf(variantOf(again))).toBe(textOf(variantOf(drawn)));
  });

  it("leaves the baseline as it is alone, whatever runs beside it", async () => {
    const alone = await generate(service, { prompt: text(story), sampling });
    const push = direction(Float32Array.from({ length: 192 }, (_, d) => Math.sin(d)));
    const pair = await generate(service, {
      prompt: text(story),
      sampling,
      withKl: true,
      variants: [
        { variantId: "baseline" },
        { variantId: "steered", interventions: [{ id: "push", target: push, method: SteeringMethod.ADD, strength: 0.5, unit: StrengthUnit.RESID_NORM_FRACTION }] },
        { variantId: "twin" },
      ],
    });
    expect(idsOf(variantOf(pair))).toEqual(idsOf(variantOf(alone)));
    expect(idsOf(variantOf(pair, "twin"))).toEqual(idsOf(variantOf(alone)));
    expect(idsOf(variantOf(pair, "steered"))).not.toEqual(idsOf(variantOf(alone)));
    const steered = variantOf(pair, "steered");
    expect(steered.steps[0]?.klFromBaseline).toBeGreaterThan(1e-3);
    expect(variantOf(pair, "twin").steps[0]?.klFromBaseline).toBeCloseTo(0, 6);
    expect(steered.finished).toMatchObject({ steeringAppliedSteps: 29, steeringExpectedSteps: 29 });
    expect(steered.finished?.proofs).toMatchObject([{ id: "push", appliedSteps: 29, expectedSteps: 29, promptPositions: 14 }]);
    expect(steered.finished?.proofs[0]?.meanDeltaNorm).toBeGreaterThan(1);
  });

  it("gives log-probabilities that agree with scoring the same tokens", async () => {
    const run = await generate(service, { prompt: text(story), sampling: { ...sampling, nLogprobs: 5 } });
    const { steps } = variantOf(run);
    const all = [...(run.started.prompt?.tokenIds ?? []), ...idsOf(variantOf(run))];
    const scores: number[] = [];
    for await (const { logprobs } of service.inference.scoreTokens({ sequences: [{ tokenIds: all }] })) scores.push(...floats(logprobs));
    const generated = scores.slice(-steps.length);
    for (const [i, { logprob, tokenId }] of steps.entries()) {
      expect(logprob?.chosen?.tokenId).toBe(tokenId);
      expect(logprob?.chosen?.logprob).toBeCloseTo(generated[i] ?? Number.NaN, 3);
      expect(logprob?.top).toHaveLength(5);
      expect(logprob?.top[0]?.logprob).toBeGreaterThanOrEqual(logprob?.top[4]?.logprob ?? 0);
    }
  });
});

describe("a stop text", () => {
  it("ends the text before it, and none of it is shown", async () => {
    const run = variantOf(await generate(service, { prompt: text(story), sampling: { temperature: 0, maxTokens: 40, stop: ["loved to play", "zebra"] } }));
    expect(textOf(run)).toBe(" had a big, red ball. Lily ");
    expect(run.finished?.finishReason).toBe(FinishReason.STOP);
  });

  it("that never comes changes nothing, though it begins often", async () => {
    const run = variantOf(await generate(service, { prompt: text(story), sampling: { temperature: 0, maxTokens: 40, stop: ["ball!", "a big, red balloon", "went to the"] } }));
    expect(textOf(run)).toBe(golden[0]?.greedy40_text);
  });
});

describe("the end of a text", () => {
  it("is EOS, unless it is to be ignored", async () => {
    // The model closes its stories with EOS: long sampled texts end with it.
    const request = { prompt: text("The end."), sampling: { temperature: 1, maxTokens: 400, seed: 3n } };
    const ended = variantOf(await generate(service, request));
    expect(ended.finished?.finishReason).toBe(FinishReason.EOS);
    expect(ended.steps.at(-1)?.tokenId).toBe(2);
    expect(textOf(ended)).not.toContain("</s>");
    const on = variantOf(await generate(service, { ...request, sampling: { ...request.sampling, ignoreEos: true } }));
    expect(on.finished?.finishReason).toBe(FinishReason.LENGTH);
    expect(on.steps).toHaveLength(400);
  });
});

describe("a capture", () => {
  it("equals Forward over prompt and generated tokens, for every variant", async () => {
    const hookName = "blocks.2.hook_resid_pre";
    const run = await generate(service, {
      prompt: text(story),
      sampling: { temperature: 0, maxTokens: 6 },
      captures: [{ hookName }],
      variants: [{ variantId: "baseline" }, { variantId: "twin" }],
    });
    const all = [...(run.started.prompt?.tokenIds ?? []), ...idsOf(variantOf(run))];
    const wanted = new Float32Array(all.length * 192);
    for await (const { tensor, tokenStart } of service.inference.forward({ prompts: [ids(all)], hookNames: [hookName] })) {
      wanted.set(floats(tensor), tokenStart * 192);
    }
    for (const id of ["baseline", "twin"]) {
      const got = new Float32Array(all.length * 192).fill(Number.NaN);
      for (const { tensor, tokenStart } of variantOf(run, id).captured) got.set(floats(tensor), tokenStart * 192);
      let worst = 0;
      for (const [i, value] of got.entries()) worst = Math.max(worst, Math.abs(value - (wanted[i] ?? 0)));
      expect(worst).toBeLessThan(1e-3);
    }
  });

  it("reads only the positions asked for, after the interventions when asked", async () => {
    const hookName = "blocks.1.hook_resid_post";
    const run = await generate(service, {
      prompt: text(story),
      sampling: { temperature: 0, maxTokens: 3 },
      captures: [{ hookName, afterInterventions: true, positions: { promptPositions: [-1], generationWindow: { start: 1, end: 2 } } }],
      variants: [{ variantId: "ablated", interventions: [{ target: direction(new Float32Array(192), hookName), method: SteeringMethod.REPLACE }] }],
    });
    const { captured } = variantOf(run, "ablated");
    expect(captured.map(({ tokenStart, tensor }) => [tokenStart, tensor?.shape])).toEqual([
      [14, [1, 192]],
      [16, [1, 192]],
    ]);
    for (const { tensor } of captured) expect([...floats(tensor)].every((value) => value === 0)).toBe(true);
  });
});
