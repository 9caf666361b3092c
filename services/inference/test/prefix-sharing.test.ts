import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate, idsOf, textOf, variantOf } from "./support/generate.ts";
import { expectIdle, loadOf } from "./support/load.ts";
import { direction, ids } from "./support/messages.ts";
import { SteeringMethod } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { removeData, startService, type TestService } from "./support/service.ts";

const story = [1, ...Array.from({ length: 60 }, (_, i) => 100 + ((i * 37) % 900))];
const sampling = { temperature: 1, seed: 11n, maxTokens: 24, ignoreEos: true };
const asked = (tokenIds: number[]) => ({ prompt: ids(tokenIds), sampling });
const push = { id: "push", target: direction(Array.from({ length: 192 }, (_, i) => Math.sin(i) / 4)), method: SteeringMethod.ADD, strength: 4, positions: { include: { generationAll: true } } };

let sharing: TestService;
let apart: TestService;
beforeAll(async () => {
  sharing = await startService();
  apart = await startService({ prefixCache: false });
});
afterAll(async () => {
  for (const service of [sharing, apart]) {
    await service.stop();
    await removeData(service);
  }
});

describe("a prompt that begins as an earlier one", () => {
  it("takes its keys and values from there, says how many, and gives the same text", async () => {
    const first = variantOf(await generate(sharing, asked(story)));
    expect(first.finished?.usage?.cachedTokens).toBe(0);
    const again = variantOf(await generate(sharing, asked(story)));
    expect(again.finished?.usage?.cachedTokens).toBe(story.length - 1);
    const next = [...story, ...idsOf(first), 77, 78];
    const turn = variantOf(await generate(sharing, asked(next)));
    // The last token that was generated has never been read.
    expect(turn.finished?.usage?.cachedTokens).toBe(story.length + 23);
    const other = variantOf(await generate(sharing, asked([...story.slice(0, 40), 5, 6, 7])));
    expect(other.finished?.usage?.cachedTokens).toBe(40);
    const alone = await Promise.all([story, next, [...story.slice(0, 40), 5, 6, 7]].map(async (tokenIds) => variantOf(await generate(apart, asked(tokenIds)))));
    expect([again, turn, other].map(idsOf)).toEqual(alone.map(idsOf));
    expect([first, turn, other].map(textOf)).toEqual(alone.map(textOf));
    expect(alone.map(({ finished }) => finished?.usage?.cachedTokens)).toEqual([0, 0, 0]);
    await expectIdle(sharing);
  });

  it("takes it from a generation under way as well", async () => {
    const prompt = [1, ...Array.from({ length: 40 }, (_, i) => 2000 + i)];
    const events = sharing.inference.generate({ ...asked(prompt), sampling: { ...sampling, maxTokens: 400 } })[Symbol.asyncIterator]();
    await events.next();
    await events.next();
    const beside = variantOf(await generate(sharing, asked(prompt)));
    expect(beside.finished?.usage?.cachedTokens).toBe(prompt.length - 1);
    await events.return?.();
    await expectIdle(sharing);
  });

  it("shares up to where edits begin, and nothing that was edited", async () => {
    const prompt = [1, ...Array.from({ length: 40 }, (_, i) => 3000 + i)];
    const late = { ...push, positions: { include: { promptPositions: [30] } } };
    const edited = { ...asked(prompt), variants: [{ variantId: "v", interventions: [late] }] };
    const first = variantOf(await generate(sharing, edited), "v");
    expect(first.finished?.usage?.cachedTokens).toBe(0);
    expect(variantOf(await generate(sharing, edited), "v").finished?.usage?.cachedTokens).toBe(0);
    await generate(sharing, asked(prompt));
    const second = variantOf(await generate(sharing, edited), "v");
    expect(second.finished?.usage?.cachedTokens).toBe(30);
    expect(idsOf(second)).toEqual(idsOf(first));
    expect(second.finished?.proofs).toEqual(first.finished?.proofs);
  });

  it("is read whole where its residuals are captured", async () => {
    const captured = { ...asked(story), captures: [{ hookName: "blocks.1.hook_resid_post" }] };
    const run = variantOf(await generate(sharing, captured));
    expect(run.finished?.usage?.cachedTokens).toBe(0);
    expect(run.captured.reduce((rows, { tensor }) => rows + (tensor?.shape[0] ?? 0), 0)).toBe(story.length + 24);
  });
});

it("kept prefixes give way to prompts that need the memory", async () => {
  const small = await startService({ cacheMib: 2 });
  try {
    for (let i = 0; i < 6; i++) {
      const tokenIds = [1, ...Array.from({ length: 100 }, (_, j) => 100 + i * 200 + j)];
      expect(idsOf(variantOf(await generate(small, asked(tokenIds))))).toHaveLength(24);
    }
    const { prefixes, kvBytesPrefixes, kvBytesBudget } = await loadOf(small);
    expect(prefixes).toBeGreaterThan(0);
    expect(kvBytesPrefixes).toBeLessThanOrEqual(kvBytesBudget);
    const whole = { prompt: ids(story), sampling: { temperature: 0, maxTokens: 440, ignoreEos: true } };
    expect(idsOf(variantOf(await generate(small, whole)))).toHaveLength(440);
    await expectIdle(small);
  } finally {
    await small.stop();
    await removeData(small);
  }
});
