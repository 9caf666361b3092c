import { readFileSync } from "node:fs";
import { f32FromBf16, f32FromF16, u16View } from "@mistral-sae/tensor";
import { SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { ChatRole } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { type ForwardResponse, Reduction } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { direction, floats, ids, text } from "./support/messages.ts";
import { removeData, startService, type TestService } from "./support/service.ts";

interface Golden {
  readonly ids: number[];
  readonly mean_nll: number;
  readonly top10: { readonly id: number; readonly logit: number }[];
}
const golden = JSON.parse(readFileSync(new URL("fixtures/golden.json", import.meta.url), "utf8")) as Golden[];
const prompts = golden.map((prompt) => ids(prompt.ids));
const hook = "blocks.2.hook_resid_pre";
const width = 192;

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(async () => {
  await service.stop();
  await removeData(service);
});

type Request = Parameters<TestService["inference"]["forward"]>[0];

async function forward(request: Request): Promise<ForwardResponse[]> {
  const chunks: ForwardResponse[] = [];
  for await (const chunk of service.inference.forward(request)) chunks.push(chunk);
  return chunks;
}

const rowsOf = (chunk: ForwardResponse | undefined) => floats(chunk?.tensor);

describe("Forward", () => {
  it("returns every prompt and hook once, in whole", async () => {
    const chunks = await forward({ prompts, hookNames: ["blocks.0.hook_resid_post", hook] });
    expect(chunks.filter(({ last }) => last)).toHaveLength(prompts.length * 2);
    for (const [promptIndex, prompt] of golden.entries()) {
      const own = chunks.filter((chunk) => chunk.promptIndex === promptIndex && chunk.hookName === hook);
      expect(own.reduce((rows, { tensor }) => rows + (tensor?.shape[0] ?? 0), 0)).toBe(prompt.ids.length);
    }
  });

  it("reads the same point of the stream under both of its names", async () => {
    const [pre] = await forward({ prompts: prompts.slice(0, 1), hookNames: [hook] });
    const [post] = await forward({ prompts: prompts.slice(0, 1), hookNames: ["blocks.1.hook_resid_post"] });
    expect(rowsOf(post)).toEqual(rowsOf(pre));
  });

  it("sends F16 and BF16 as asked", async () => {
    const request = { prompts: prompts.slice(0, 1), hookNames: [hook] };
    const [full] = await forward(request);
    const [half] = await forward({ ...request, outputDtype: DataType.F16 });
    const [brain] = await forward({ ...request, outputDtype: DataType.BF16 });
    const exact = rowsOf(full);
    const f16 = f32FromF16(u16View(half?.tensor?.data ?? new Uint8Array()), new Float32Array(exact.length));
    const bf16 = f32FromBf16(u16View(brain?.tensor?.data ?? new Uint8Array()), new Float32Array(exact.length));
    for (const [i, value] of exact.entries()) {
      expect(Math.abs((f16[i] ?? 0) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -10 + 1e-6);
      expect(Math.abs((bf16[i] ?? 0) - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -8 + 1e-6);
    }
  });

  it("returns only the positions asked for, in runs", async () => {
    const [all] = await forward({ prompts: prompts.slice(0, 1), hookNames: [hook] });
    const picked = await forward({ prompts: prompts.slice(0, 1), hookNames: [hook], positions: { promptPositions: [0, 1, -1] } });
    expect(picked.map(({ tokenStart, tensor, last }) => [tokenStart, tensor?.shape, last])).toEqual([
      [0, [2, width], false],
      [14, [1, width], true],
    ]);
    expect(rowsOf(picked[1])).toEqual(rowsOf(all).slice(14 * width));
  });

  it("reduces the rows of a prompt to one", async () => {
    const request = { prompts: prompts.slice(0, 1), hookNames: [hook] };
    const rows = rowsOf((await forward(request))[0]);
    const column = Array.from({ length: rows.length / width }, (_, row) => rows[row * width + 5] ?? 0);
    const [last, mean, max] = await Promise.all([Reduction.LAST, Reduction.MEAN, Reduction.MAX].map((reduction) => forward({ ...request, reduction })));
    expect(rowsOf(last?.[0])[5]).toBe(column.at(-1));
    expect(last?.[0]?.tokenStart).toBe(14);
    expect(rowsOf(mean?.[0])[5]).toBeCloseTo(column.reduce((sum, value) => sum + value) / column.length, 4);
    expect(rowsOf(max?.[0])[5]).toBe(Math.max(...column));
  });

  it("reads what interventions leave, and nothing on special tokens", async () => {
    const target = direction(Float32Array.from({ length: width }, (_, d) => (d === 0 ? 10 : 0)), hook);
    const request = { prompts: prompts.slice(0, 1), hookNames: [hook] };
    const before = rowsOf((await forward(request))[0]);
    const after = rowsOf((await forward({ ...request, interventions: [{ target, method: SteeringMethod.ADD, strength: 2 }] }))[0]);
    expect(after[0]).toBe(before[0]);
    for (let row = 1; row < 15; row++) expect((after[row * width] ?? 0) - (before[row * width] ?? 0)).toBeCloseTo(20, 3);
  });
});

describe("GetLogits, LogitLens and ScoreTokens", () => {
  it("give the likeliest tokens of transformers", async () => {
    for (const [i, { top10 }] of golden.entries()) {
      const { top } = await service.inference.getLogits({ prompt: ids(golden[i]?.ids ?? []), topK: 10 });
      expect(top[0]?.tokens.map(({ tokenId }) => tokenId)).toEqual(top10.map(({ id }) => id));
      for (const [j, { logit }] of top10.entries()) expect(top[0]?.tokens[j]?.logit).toBeCloseTo(logit, 3);
    }
  });

  it("give whole rows without top_k, and the last layer's lens equals the logits", async () => {
    const prompt = ids(golden[0]?.ids ?? []);
    const { logits } = await service.inference.getLogits({ prompt, positions: [0, -1] });
    expect(logits?.shape).toEqual([2, 4096]);
    const { layers } = await service.inference.logitLens({ prompt, topK: 3 });
    expect(layers.map(({ hookName }) => hookName)).toEqual([0, 1, 2, 3].map((layer) => `blocks.${layer}.hook_resid_post`));
    const row = floats(logits).subarray(4096);
    for (const { tokenId, logit } of layers[3]?.top[0]?.tokens ?? []) expect(row[tokenId]).toBeCloseTo(logit, 3);
  });

  it("score texts as transformers does, and say how far an edit moves them", async () => {
    const sequences = golden.map((prompt) => ({ tokenIds: prompt.ids }));
    for await (const { sequenceIndex, logprobs } of service.inference.scoreTokens({ sequences })) {
      const values = floats(logprobs);
      expect(-values.reduce((sum, value) => sum + value, 0) / values.length).toBeCloseTo(golden[sequenceIndex]?.mean_nll ?? 0, 3);
    }
    const target = direction(new Float32Array(width).fill(1), hook);
    const interventions = [{ target, method: SteeringMethod.ADD, strength: 0.4, unit: StrengthUnit.RESID_NORM_FRACTION }];
    const one = sequences.slice(0, 1);
    const plain: number[] = [];
    for await (const { logprobs } of service.inference.scoreTokens({ sequences: one })) plain.push(...floats(logprobs));
    for await (const { kl, logprobs, uneditedLogprobs } of service.inference.scoreTokens({ sequences: one, interventions, withKl: true })) {
      for (const [i, value] of floats(uneditedLogprobs).entries()) expect(value).toBeCloseTo(plain[i] ?? Number.NaN, 4);
      expect([...floats(logprobs)]).not.toEqual(plain);
      const nats = floats(kl);
      expect(nats).toHaveLength(14);
      expect(nats[0]).toBeCloseTo(0, 5);
      expect(Math.max(...nats)).toBeGreaterThan(0.1);
    }
  });
});

describe("Tokenize, Detokenize and ApplyChatTemplate", () => {
  it("turn text into ids and back, longer than any context", async () => {
    const long = "Once upon a time. ".repeat(400);
    const { sequences } = await service.inference.tokenize({ prompts: [{ ...text(long), prependBos: false }] });
    expect(sequences[0]?.tokenIds.length).toBeGreaterThan(512);
    const { texts } = await service.inference.detokenize({ sequences });
    expect(texts).toEqual([long]);
  });

  it("show each token and mark special ones", async () => {
    const { sequences } = await service.inference.tokenize({ prompts: [text("a cat")], withStrTokens: true });
    expect(sequences[0]?.strTokens).toEqual(["<s>", "a", " cat"]);
    expect([...(sequences[0]?.isSpecial ?? [])]).toEqual([1]);
  });

  it("render a conversation with the positions of its roles", async () => {
    const { text: rendered, tokens, spans } = await service.inference.applyChatTemplate({ chat: { messages: [{ role: ChatRole.USER, content: "Tell me a story." }] } });
    expect(rendered).toBe("<s>[INST] Tell me a story.[/INST]");
    expect(spans).toMatchObject([{ role: ChatRole.USER, start: 2, end: (tokens?.tokenIds.length ?? 0) - 1 }]);
  });
});
