import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf } from "./support/generate.ts";
import { text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

const prompt = text("Once upon a time");

describe("an engine that decodes several tokens in one run", () => {
  let single: TestService;
  let several: TestService;

  beforeAll(async () => {
    single = await startService();
    several = await startService({ decodeSteps: 8 });
  });

  afterAll(async () => {
    for (const service of [single, several]) {
      await service.stop();
      await removeData(service);
    }
  });

  it.each([
    ["to the last token asked for", { maxTokens: 21, temperature: 1, seed: 3n }],
    ["to a stop text within a run", { maxTokens: 60, stop: [" was"], seed: 4n }],
    ["with log-probabilities, a token at a time", { maxTokens: 9, nLogprobs: 2, seed: 5n }],
  ])("generates what one token at a time gives, %s", async (_, sampling) => {
    const wanted = variantOf(await generate(single, { prompt, sampling }));
    const found = variantOf(await generate(several, { prompt, sampling }));
    expect(idsOf(found)).toEqual(idsOf(wanted));
    expect(textOf(found)).toBe(textOf(wanted));
    expect(found.finished?.finishReason).toBe(wanted.finished?.finishReason);
    expect(found.finished?.usage?.completionTokens).toBe(wanted.finished?.usage?.completionTokens);
  });

  it("lets generations of different lengths share runs, each to its own end", async () => {
    const lengths = [5, 17, 30];
    const runs = await Promise.all(lengths.map(async (maxTokens, i) => variantOf(await generate(several, { prompt, sampling: { maxTokens, temperature: 0.8, seed: BigInt(i), ignoreEos: true } }))));
    for (const [i, maxTokens] of lengths.entries()) {
      expect(idsOf(runs[i]!)).toHaveLength(maxTokens);
      expect(idsOf(runs[i]!)).toEqual(idsOf(variantOf(await generate(single, { prompt, sampling: { maxTokens, temperature: 0.8, seed: BigInt(i), ignoreEos: true } }))));
    }
  });
});
