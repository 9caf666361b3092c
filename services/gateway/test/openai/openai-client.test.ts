import OpenAI, { APIError } from "openai";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createClient } from "@mistral-sae/rpc";
import { SteeringMethod, StrengthUnit } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type RealSystem, SAE, startRealSystem } from "../support/real-system.ts";

const STORY = "Once upon a time, there was a little girl named Lily. She";
const model = "demo";
let system: RealSystem;
let client: OpenAI;

beforeAll(async () => {
  system = await startRealSystem();
  client = new OpenAI({ baseURL: `${system.url}/v1`, apiKey: "none", maxRetries: 0 });
});

afterAll(async () => {
  await system.stop();
});

/** Fields that the API does not have, beside those that it has. */
function extended<T extends object>(body: T, extensions: Readonly<Record<string, unknown>>): T {
  return { ...body, ...extensions };
}

/** What Generate writes for the same request. */
async function generated(request: Parameters<ReturnType<typeof inference>["generate"]>[0]): Promise<{ text: string; ids: number[] }> {
  const result = { text: "", ids: [] as number[] };
  for await (const { event } of inference().generate(request)) {
    if (event.case !== "step") continue;
    result.text += event.value.textDelta;
    result.ids.push(event.value.tokenId);
  }
  return result;
}

function inference() {
  return createClient(InferenceService, system.inference);
}

async function refused(call: Promise<unknown>): Promise<APIError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(APIError);
  return error as APIError;
}

describe("models", () => {
  test("are listed and found by id", async () => {
    const { data } = await client.models.list();
    expect(data).toMatchObject([{ id: "demo", object: "model", owned_by: "mistral-sae" }]);
    expect(await client.models.retrieve("demo")).toMatchObject({ id: "demo", object: "model" });
    expect(await refused(client.models.retrieve("gpt-4.1"))).toMatchObject({ status: 404, code: "model_not_found" });
  });
});

describe("completions", () => {
  test("write what Generate writes", async () => {
    const answer = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 12 });
    const wanted = await generated({ prompt: { prompt: { case: "text", value: STORY } }, sampling: { temperature: 0, maxTokens: 12 } });
    expect(answer).toMatchObject({ object: "text_completion", model, choices: [{ index: 0, text: wanted.text, finish_reason: "length", logprobs: null }] });
    expect(answer.usage).toMatchObject({ prompt_tokens: 15, completion_tokens: 12, total_tokens: 27 });
  });

  test("take several prompts, as texts and as ids, and several choices of each", async () => {
    const seeds = { seed: 5, temperature: 0.9, max_tokens: 8 };
    const [texts, ids] = await Promise.all([
      client.completions.create({ model, prompt: ["The dog", "A cat"], n: 2, ...seeds }),
      client.completions.create({ model, prompt: [[1, 465, 456], [1, 263]], max_tokens: 3, temperature: 0 }),
    ]);
    expect(texts.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(new Set(texts.choices.map(({ text }) => text)).size).toBe(4);
    const second = await client.completions.create({ model, prompt: "The dog", ...seeds, seed: 6 });
    expect(second.choices[0]?.text).toBe(texts.choices[1]?.text);
    expect(ids.usage).toMatchObject({ prompt_tokens: 5, completion_tokens: 6 });
  });

  test("give logprobs that agree with their tokens, and offsets into the text", async () => {
    const { choices } = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 6, logprobs: 3 });
    const { text, logprobs } = choices[0] ?? {};
    expect(logprobs?.tokens?.join("")).toBe(text);
    expect(logprobs?.text_offset?.map((at) => text?.slice(at)[0])).toEqual(logprobs?.tokens?.map((token) => token[0]));
    for (const [i, top] of (logprobs?.top_logprobs ?? []).entries()) {
      const token = logprobs?.tokens?.[i] ?? "";
      expect(Object.keys(top)).toHaveLength(3);
      expect(Math.max(...Object.values(top))).toBeCloseTo(logprobs?.token_logprobs?.[i] ?? 1, 5);
      expect(top[token]).toBeCloseTo(logprobs?.token_logprobs?.[i] ?? 1, 5);
    }
    const none = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 2, logprobs: 0 });
    expect(none.choices[0]?.logprobs).toMatchObject({ top_logprobs: null, tokens: logprobs?.tokens?.slice(0, 2) });
  });

  test("echo the prompt with the logprobs of its tokens, also with nothing generated", async () => {
    const first = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 4, logprobs: 5 });
    const whole = `${STORY}${first.choices[0]?.text}`;
    const { choices, usage } = await client.completions.create({ model, prompt: whole, echo: true, max_tokens: 0, logprobs: 5 });
    expect(choices[0]?.text).toBe(whole);
    expect(usage).toMatchObject({ prompt_tokens: 19, completion_tokens: 0 });
    const { logprobs } = choices[0] ?? {};
    expect(logprobs?.token_logprobs?.[0]).toBeNull();
    expect(logprobs?.tokens?.slice(-4)).toEqual(first.choices[0]?.logprobs?.tokens);
    for (const [i, logprob] of (first.choices[0]?.logprobs?.token_logprobs ?? []).entries()) expect(logprobs?.token_logprobs?.at(i - 4)).toBeCloseTo(logprob, 3);
    for (const [token, logprob] of Object.entries(first.choices[0]?.logprobs?.top_logprobs?.[0] ?? {})) expect(logprobs?.top_logprobs?.at(-4)?.[token]).toBeCloseTo(logprob, 3);
    const both = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 4, echo: true });
    expect(both.choices[0]?.text).toBe(whole);
  });

  test("return the best of several by their mean logprob", async () => {
    const asked = { model, prompt: STORY, temperature: 1.2, max_tokens: 8, seed: 3, logprobs: 1 } as const;
    const all = await client.completions.create({ ...asked, n: 5 });
    const mean = (tokens: readonly number[] = []) => tokens.reduce((sum, one) => sum + one, 0) / tokens.length;
    const ranked = all.choices.toSorted((a, b) => mean(b.logprobs?.token_logprobs) - mean(a.logprobs?.token_logprobs)).map(({ text }) => text);
    const best = await client.completions.create({ ...asked, n: 2, best_of: 5 });
    expect(best.choices.map(({ text }) => text)).toEqual(ranked.slice(0, 2));
    expect(best.usage?.completion_tokens).toBe(all.usage?.completion_tokens);
  });

  test("stop before a stop text, and follow a logit bias", async () => {
    const stopped = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 40, stop: ["loved to play", "zebra"] });
    expect(stopped.choices[0]).toMatchObject({ text: " had a big, red ball. Lily ", finish_reason: "stop" });
    const biased = await client.completions.create({ model, prompt: STORY, temperature: 0, max_tokens: 3, logit_bias: { 263: 100 } });
    expect(biased.choices[0]?.text).toBe(" a a a");
  });

  test("stream the same text, echo and logprobs, with the usage at the end", async () => {
    const asked = { model, prompt: STORY, temperature: 0, max_tokens: 10, logprobs: 2, echo: true, n: 2 } as const;
    const whole = await client.completions.create(asked);
    const texts = ["", ""];
    const offsets: number[][] = [[], []];
    const reasons: unknown[] = [];
    let usage: unknown;
    for await (const { choices, usage: last } of await client.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
      for (const { index, text, logprobs, finish_reason } of choices) {
        texts[index] += text;
        offsets[index]?.push(...(logprobs?.text_offset ?? []));
        if (finish_reason !== null) reasons.push(finish_reason);
      }
      usage = last ?? usage;
    }
    expect(texts).toEqual(whole.choices.map(({ text }) => text));
    expect(offsets).toEqual(whole.choices.map(({ logprobs }) => logprobs?.text_offset));
    expect(reasons).toEqual(["length", "length"]);
    expect(usage).toMatchObject({ prompt_tokens: 15, completion_tokens: 20, total_tokens: 35 });
  });
});

describe("chat completions", () => {
  const messages = [{ role: "system", content: "You tell stories." }, { role: "user", content: [{ type: "text", text: "Tell me a story about " }, { type: "text", text: "a cat and a boat." }] }] as const satisfies OpenAI.ChatCompletionMessageParam[];

  test("answer in the model's chat format, with logprobs", async () => {
    const { choices, usage, object } = await client.chat.completions.create({ model, messages: [...messages], temperature: 0, max_completion_tokens: 8, logprobs: true, top_logprobs: 2 });
    expect(object).toBe("chat.completion");
    expect(choices[0]?.message).toMatchObject({ role: "assistant", refusal: null });
    const { content = [] } = choices[0]?.logprobs ?? {};
    expect(content).toHaveLength(8);
    expect(content?.every(({ token, bytes, top_logprobs }) => Buffer.from(bytes ?? []).toString("utf8") === token && top_logprobs.length === 2)).toBe(true);
    expect(usage?.completion_tokens).toBe(8);
    const plain = await client.chat.completions.create({ model, messages: [...messages], temperature: 0, max_tokens: 8, logprobs: true });
    expect(plain.choices[0]?.message.content).toBe(choices[0]?.message.content);
    expect(plain.choices[0]?.logprobs?.content?.[0]?.top_logprobs).toEqual([]);
  });

  test("stream deltas that join to the same answer", async () => {
    const asked = { model, messages: [...messages], temperature: 0.8, seed: 11, max_tokens: 30 };
    const whole = await client.chat.completions.create(asked);
    const stream = client.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
    const answer = await stream.finalChatCompletion();
    expect(answer.choices[0]?.message).toMatchObject({ role: "assistant", content: whole.choices[0]?.message.content });
    expect(answer.choices[0]?.finish_reason).toBe(whole.choices[0]?.finish_reason);
    expect(answer.usage).toMatchObject({ total_tokens: whole.usage?.total_tokens });
  });
});

describe("steering and features", () => {
  test("a feature in the simple form steers as the same intervention does, with the proof", async () => {
    const body = { model, prompt: STORY, temperature: 0, max_tokens: 10 };
    const [plain, simple, full] = await Promise.all([
      client.completions.create(body),
      client.completions.create(extended(body, { steering: [{ feature: 7, sae: "unit", strength: 0.9 }] })),
      client.completions.create(extended(body, { steering: [{ feature: { sae: SAE, feature_index: 7 }, method: "STEERING_METHOD_ADD", unit: "STRENGTH_UNIT_RESID_NORM_FRACTION", strength: 0.9 }] })),
    ]);
    expect(simple.choices[0]?.text).not.toBe(plain.choices[0]?.text);
    expect(full.choices[0]?.text).toBe(simple.choices[0]?.text);
    expect(plain).not.toHaveProperty("steering");
    expect(simple).toMatchObject({ steering: { applied_steps: 9, expected_steps: 9 }, choices: [{ steering: { applied_steps: 9, expected_steps: 9, proofs: [{ id: "steering-0", hook_name: "blocks.2.hook_resid_pre", applied_steps: 9, prompt_positions: 14 }] } }] });
  });

  test("a preset goes through the steering service, also streamed", async () => {
    const target = { case: "feature" as const, value: { sae: SAE, featureIndex: 7 } };
    const steeringPreset = { displayName: "seven", interventions: [{ id: "seven", target, method: SteeringMethod.ADD, strength: 0.9, unit: StrengthUnit.RESID_NORM_FRACTION }] };
    await createClient(SteeringService, system.steering).createSteeringPreset({ steeringPresetId: "seven", steeringPreset });
    const body = { model, prompt: STORY, temperature: 0, max_tokens: 10 };
    const simple = await client.completions.create(extended(body, { steering: [{ feature: 7, strength: 0.9 }] }));
    const preset = await client.completions.create(extended(body, { steering: [{ preset: "steeringPresets/seven" }] }));
    expect(preset.choices[0]?.text).toBe(simple.choices[0]?.text);
    expect(preset).toMatchObject({ steering: { applied_steps: 9 } });
    let last: unknown;
    for await (const chunk of await client.completions.create(extended({ ...body, stream: true as const }, { steering: [{ preset: "steeringPresets/seven" }] }))) last = chunk;
    expect(last).toMatchObject({ choices: [{ finish_reason: "length", steering: { applied_steps: 9 } }], steering: { applied_steps: 9, expected_steps: 9 } });
  });

  test("the features of each token come with it", async () => {
    const body = { model, messages: [{ role: "user" as const, content: "A story, please." }], temperature: 0, max_tokens: 5 };
    const whole = await client.chat.completions.create(extended(body, { features: { top_k: 3 } }));
    const { features } = whole.choices[0] as unknown as { readonly features: readonly { readonly step: number; readonly top: readonly { readonly feature: number; readonly activation: number }[] }[] };
    expect(features.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4]);
    expect(features.every(({ top }) => top.length === 3 && top.every(({ feature, activation }) => feature < 384 && activation > 0))).toBe(true);
    const streamed: unknown[] = [];
    for await (const chunk of await client.chat.completions.create(extended({ ...body, stream: true as const }, { features: { sae: SAE, top_k: 3 } }))) {
      streamed.push(...((chunk.choices[0] as { readonly features?: readonly unknown[] } | undefined)?.features ?? []));
    }
    expect(streamed).toEqual(features);
  });
});

describe("what cannot be is refused by name", () => {
  const chat = { model, messages: [{ role: "user" as const, content: "Hello" }] };

  test.each<[string, Readonly<Record<string, unknown>>, string]>([
    ["tools", { tools: [{ type: "function", function: { name: "f" } }] }, "tools"],
    ["a format other than text", { response_format: { type: "json_object" } }, "response_format"],
    ["an image", { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:," } }] }] }, "messages[0].content[0]"],
    ["an answer of a tool", { messages: [{ role: "tool", content: "4", tool_call_id: "x" }] }, "messages[0].role"],
    ["an unknown field", { temprature: 1 }, "temprature"],
    ["rivals without logprobs", { top_logprobs: 2 }, "top_logprobs"],
    ["two lengths", { max_tokens: 1, max_completion_tokens: 1 }, "max_tokens"],
    ["usage without a stream", { stream_options: { include_usage: true } }, "stream_options"],
    ["a temperature beyond 2", { temperature: 3 }, "temperature"],
    ["no messages", { messages: [] }, "messages"],
    ["a bias on a token that is none", { logit_bias: { 99999: 1 } }, "logit_bias"],
    ["a feature that the SAE has not", { steering: [{ feature: 100_000, strength: 1 }] }, "steering[0].feature.feature_index"],
    ["steering without a strength", { steering: [{ feature: 1 }] }, "steering[0].strength"],
    ["an intervention that is none", { steering: [{ nonsense: 1 }] }, "steering[0]"],
    ["too long an answer", { max_tokens: 5000 }, "max_tokens"],
  ])("%s", async (_what, change, param) => {
    const error = await refused(client.chat.completions.create(extended(chat, change)));
    expect(error).toMatchObject({ status: 400, type: "invalid_request_error", param });
  });

  test("a suffix, a best_of that streams, an unknown model, and a prompt that does not fit", async () => {
    expect(await refused(client.completions.create({ model, prompt: "a", suffix: "b" }))).toMatchObject({ status: 400, param: "suffix" });
    expect(await refused(client.completions.create({ model, prompt: "a", best_of: 2, stream: true }))).toMatchObject({ status: 400, param: "best_of" });
    expect(await refused(client.completions.create({ model: "gpt-4.1", prompt: "a" }))).toMatchObject({ status: 404, param: "model", code: "model_not_found" });
    expect(await refused(client.completions.create({ model, prompt: "word ".repeat(2000) }))).toMatchObject({ status: 400, param: "prompt", code: "context_length_exceeded" });
    expect(await refused(client.completions.create(extended({ model, prompt: "a" }, { steering: [{ feature: 1, sae: "other", strength: 1 }] })))).toMatchObject({ status: 404, code: "resource_not_found" });
    expect(await refused(client.completions.create({ model, prompt: [1, 9_999_999] }))).toMatchObject({ status: 400, code: "token_out_of_vocab" });
  });

  test("paths, methods and bodies", async () => {
    const post = (path: string, body: string) => fetch(`${system.url}${path}`, { method: "POST", body, headers: { "x-request-id": "r7" } });
    const away = await fetch(`${system.url}/v1/embeddings`);
    expect([away.status, await away.json()]).toEqual([404, { error: expect.objectContaining({ code: "unknown_url", type: "invalid_request_error", param: null }) as unknown }]);
    expect((await fetch(`${system.url}/v1/completions`)).status).toBe(405);
    expect((await fetch(`${system.url}/v1/models/%zz`)).status).toBe(404);
    expect((await fetch(`${system.url}/v1/models/models%2Fdemo`)).status).toBe(200);
    const broken = await post("/v1/completions", "{");
    expect(broken.headers.get("x-request-id")).toBe("r7");
    expect([broken.status, await broken.json()]).toEqual([400, { error: expect.objectContaining({ code: "invalid_json" }) as unknown }]);
    expect((await post("/v1/completions", JSON.stringify({ model, prompt: "x".repeat(2 << 20) }))).status).toBe(413);
  });
});

describe("limits and failures", () => {
  test("a full queue is 429 with a time to come back, and a backend that has gone is 503", async () => {
    const small = await startRealSystem({ MISTRAL_SAE_INFERENCE_MAX_BATCH_ROWS: "1", MISTRAL_SAE_INFERENCE_MAX_QUEUED: "1" });
    try {
      const own = new OpenAI({ baseURL: `${small.url}/v1`, apiKey: "none", maxRetries: 0 });
      const busy = await refused(own.completions.create(extended({ model, prompt: STORY, n: 20, max_tokens: 200 }, { ignore_eos: true })));
      expect(busy).toMatchObject({ status: 429, type: "rate_limit_error", code: "concurrency_limit" });
      expect(Number(busy.headers?.get("retry-after"))).toBeGreaterThanOrEqual(1);
      const stream = await own.completions.create(extended({ model, prompt: STORY, stream: true as const, max_tokens: 400 }, { ignore_eos: true }));
      const reading = (async () => {
        for await (const _ of stream) if (small.url !== "") await small.killInference();
      })();
      await expect(reading).rejects.toThrow(APIError);
      await vi.waitFor(async () => expect(await refused(own.models.list())).toMatchObject({ status: 503, code: "backend_down" }));
    } finally {
      await small.stop();
    }
  });
});
