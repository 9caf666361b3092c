import { FinishReason } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf } from "./support/generate.ts";
import { expectIdle } from "./support/load.ts";
import { direction, text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const push = { id: "push", target: direction(Array.from({ length: 192 }, (_, i) => Math.sin(i) / 3)), method: SteeringMethod.ADD, strength: 6 };
const request = {
  prompt: text("Once upon a time"),
  withKl: true,
  variants: [{ variantId: "baseline" }, { variantId: "pushed", interventions: [push] }],
};

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

const withCaptures = { captures: [{ hookName: "blocks.1.hook_resid_post", positions: { generationAll: true } }] };

it.each([
  ["alone", {}],
  ["while residuals are read", withCaptures],
])("the divergence goes on, %s, after the first variant has ended, whose text ends where it ends", async (_, more) => {
  const sampling = { temperature: 0, maxTokens: 24, ignoreEos: true };
  const whole = await generate(service, { ...request, ...more, sampling });
  // A piece of the baseline's text that the pushed variant never writes.
  const words = textOf(variantOf(whole)).split(" ").filter((word) => word.length > 3 && !textOf(variantOf(whole, "pushed")).includes(word));
  const run = await generate(service, { ...request, ...more, sampling: { ...sampling, stop: [words[0] ?? ""] } });
  const [baseline, pushed] = [variantOf(run), variantOf(run, "pushed")];
  expect(baseline.finished?.finishReason).toBe(FinishReason.STOP);
  expect(baseline.steps.length).toBeLessThan(24);
  expect(idsOf(baseline)).toEqual(idsOf(variantOf(whole)).slice(0, baseline.steps.length));
  expect(baseline.finished?.usage?.completionTokens).toBe(baseline.steps.length);
  expect(idsOf(pushed)).toEqual(idsOf(variantOf(whole, "pushed")));
  expect(pushed.steps.map(({ klFromBaseline }) => klFromBaseline?.toFixed(4))).toEqual(variantOf(whole, "pushed").steps.map(({ klFromBaseline }) => klFromBaseline?.toFixed(4)));
  expect(pushed.steps.every(({ klFromBaseline }) => klFromBaseline !== undefined)).toBe(true);
  expect(baseline.captured).toHaveLength(more === withCaptures ? baseline.steps.length : 0);
  await expectIdle(service);
});
