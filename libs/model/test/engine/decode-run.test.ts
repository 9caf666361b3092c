import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Engine, openEngine, type SamplingParams, type StepResult } from "../../src/index.ts";
import { greedy } from "../../src/sampling/params.ts";
import { relativeDifference, tokensOf } from "../support/compare.ts";
import { tinyConfig, writeTinyModel } from "../support/tiny-model.ts";

const samplings: Record<string, Partial<SamplingParams>> = {
  greedy: {},
  "any token by its probability": { temperature: 1.3, seed: 7n },
  "top_k": { temperature: 1, topK: 5, seed: 8n },
  "top_p": { temperature: 1.5, topP: 0.7, seed: 9n },
  "min_p": { temperature: 2, minP: 0.3, seed: 10n },
  "all filters": { temperature: 1.8, topK: 40, topP: 0.9, minP: 0.02, seed: 11n },
};

describe("several decoding steps in one run", () => {
  let model: Awaited<ReturnType<typeof writeTinyModel>>;
  let stepwise: Engine;
  let looping: Engine;

  beforeAll(async () => {
    model = await writeTinyModel({});
    stepwise = await openEngine({ modelDir: model.modelDir, threads: 1 });
    looping = await openEngine({ modelDir: model.modelDir, threads: 2, decodeSteps: 16 });
  });

  afterAll(async () => {
    await stepwise.close();
    await looping.close();
    await model[Symbol.asyncDispose]();
  });

  /** Tokens that an engine gives each prompt in steps of the sizes given. */
  async function generate(engine: Engine, prompts: readonly number[], sampling: SamplingParams, sizes: readonly number[]): Promise<{ tokens: number[][]; logits: Float32Array }> {
    const { slots, tokens } = await engine.prefill(prompts.map((length) => ({ tokens: tokensOf(length, tinyConfig.vocab_size), sampling })));
    const out = Array.from(tokens, (token) => [token]);
    for (const size of sizes) {
      const results: readonly StepResult[] = size === 1 ? [await engine.decode(slots.map((slot) => ({ slot })))] : await engine.decodeRun(slots.map((slot) => ({ slot })), size);
      for (const result of results) for (const [i, token] of result.tokens.entries()) out[i]!.push(token);
    }
    const { logits } = await engine.decode(slots.map((slot) => ({ slot })), { withLogits: true });
    await engine.free(slots);
    return { tokens: out, logits };
  }

  it.each(Object.entries(samplings))("choose the tokens that single steps choose: %s", async (_, params) => {
    const sampling = { ...greedy, ...params };
    const prompts = [3, 9, 61, 30];
    const singles = await generate(stepwise, prompts, sampling, Array.from({ length: 41 }, () => 1));
    const runs = await generate(looping, prompts, sampling, [16, 1, 8, 16]);
    expect(runs.tokens).toEqual(singles.tokens);
    expect(relativeDifference(runs.logits, [...singles.logits])).toBeLessThan(1e-5);
  });

  it("are one step where a row wants what only single steps can do, and at the end of the context fewer than asked for", async () => {
    const { slots } = await looping.prefill([{ tokens: tokensOf(5, tinyConfig.vocab_size), sampling: { ...greedy, nLogprobs: 2 } }, { tokens: tokensOf(690, tinyConfig.vocab_size) }]);
    const rows = slots.map((slot) => ({ slot }));
    expect(await looping.decodeRun(rows, 8)).toHaveLength(1);
    expect(await looping.decodeRun(rows.slice(1), 8, { taps: [{ hook: "blocks.1.hook_resid_pre" }] })).toHaveLength(1);
    expect(await looping.decodeRun(rows.slice(1), 16)).toHaveLength(8);
    await expect(looping.decodeRun(rows.slice(1), 16)).rejects.toThrow("the slot's context is full");
    expect(stepwise.info.decodeSteps).toBe(1);
    await looping.free(slots);
  });
});

describe("an execution provider that cannot run here", () => {
  it("is refused with what is missing, whether it is CUDA or unknown", async () => {
    await using model = await writeTinyModel({});
    await expect(openEngine({ modelDir: model.modelDir, provider: "cuda" })).rejects.toThrow(/the execution provider cannot run here: .*wanted an NVIDIA GPU with its driver, the CUDA 13 runtime libraries/s);
    await expect(openEngine({ modelDir: model.modelDir, provider: "tpu" as "cpu" })).rejects.toThrow("unknown execution provider (got tpu, wanted cpu, cuda, webgpu)");
  });
});
