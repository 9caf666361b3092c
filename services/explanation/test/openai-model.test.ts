import { Code } from "@mistral-sae/rpc";
import { afterEach, expect, test } from "vitest";
import { endpointDefaults } from "../src/config.ts";
import { OpenAiModel } from "../src/llm/openai-model.ts";
import { type FakeLlm, startFakeLlm } from "./fake-llm.ts";

const running: FakeLlm[] = [];
const never = new AbortController().signal;
const request = {
  model: "m",
  system: "s",
  user: "u",
  schema: { name: "explanation", schema: { type: "object" } },
  temperature: 0,
  seed: 2n ** 60n + 5n,
  maxTokens: 50,
};

afterEach(() => {
  for (const llm of running.splice(0)) llm.close();
});

async function modelOver(answer: FakeLlm["answer"], settings: { maxAttempts?: number; timeoutMs?: number } = {}) {
  const llm = await startFakeLlm(answer);
  running.push(llm);
  const config = { ...endpointDefaults, name: "default", baseUrl: llm.baseUrl, model: "m", apiKey: "sk-canary", ...settings };
  return { llm, model: new OpenAiModel(config) };
}

test("a call carries key, temperature, seed and schema, and brings back text and usage", async () => {
  const { llm, model } = await modelOver(() => '{"explanation":"x"}');
  const reply = await model.ask(request, never);
  expect(reply).toEqual({ text: '{"explanation":"x"}', cut: false, tokens: { promptTokens: 100, completionTokens: 10 } });
  const call = llm.calls[0];
  expect(call?.headers.authorization).toBe("Bearer sk-canary");
  expect(call?.body).toMatchObject({ model: "m", temperature: 0, seed: 5, response_format: { type: "json_schema" } });
});

test("429 with Retry-After, 500 and a timeout are tried again; the client itself retries nothing", async () => {
  const answers = [{ status: 429, headers: { "retry-after": "0.01" } }, { status: 500, headers: { "retry-after": "0" } }] as const;
  const { llm, model } = await modelOver((_call, n) => answers[n - 1] ?? '{"ok":1}');
  expect((await model.ask(request, never)).text).toBe('{"ok":1}');
  expect(llm.calls).toHaveLength(3);
  expect(llm.calls.map(({ headers }) => headers["x-stainless-retry-count"])).toEqual(["0", "0", "0"]);
});

test("an endpoint that stays away is UNAVAILABLE, one that stays busy RESOURCE_EXHAUSTED", async () => {
  const away = await modelOver(() => ({ status: 503, headers: { "retry-after": "0" } }), { maxAttempts: 2 });
  await expect(away.model.ask(request, never)).rejects.toMatchObject({ code: Code.Unavailable, reason: "LLM_UNAVAILABLE" });
  expect(away.llm.calls).toHaveLength(2);
  const busy = await modelOver(() => ({ status: 429, headers: { "retry-after": "0" } }), { maxAttempts: 2 });
  await expect(busy.model.ask(request, never)).rejects.toMatchObject({ code: Code.ResourceExhausted, retryDelayMs: 0 });
  const silent = await modelOver(() => undefined, { maxAttempts: 1, timeoutMs: 50 });
  await expect(silent.model.ask(request, never)).rejects.toMatchObject({ code: Code.Unavailable });
});

test("a refused key and a refused model fail at once, and the key is in no message", async () => {
  const { llm, model } = await modelOver(() => ({ status: 401, message: "bad key" }));
  const failure = await model.ask(request, never).catch((error: unknown) => error);
  expect(failure).toMatchObject({ code: Code.FailedPrecondition, reason: "LLM_UNAUTHENTICATED" });
  expect(String(failure)).not.toContain("sk-canary");
  expect(llm.calls).toHaveLength(1);
  llm.answer = () => ({ status: 404, message: "no such model" });
  await expect(model.ask(request, never)).rejects.toMatchObject({ reason: "LLM_REFUSED" });
});

test("an endpoint without json_schema is asked for json_object, then for plain text, and this is remembered", async () => {
  const { llm, model } = await modelOver((call) =>
    call.body.response_format === undefined ? "fine" : { status: 400, message: `response_format ${call.body.response_format.type} is not supported` },
  );
  expect((await model.ask(request, never)).text).toBe("fine");
  expect((await model.ask(request, never)).text).toBe("fine");
  expect(llm.calls.map(({ body }) => body.response_format?.type ?? "plain")).toEqual(["json_schema", "json_object", "plain", "plain"]);
});

test("an abort ends the call at once", async () => {
  const { model } = await modelOver(() => undefined);
  const abort = new AbortController();
  setTimeout(() => abort.abort(new Error("stop it")), 30);
  await expect(model.ask(request, abort.signal)).rejects.toThrow("stop it");
});

test("a redirect is not followed", async () => {
  const { llm, model } = await modelOver((_call, n) => (n === 1 ? { status: 302, headers: { location: "/v1/elsewhere" } } : "leaked"), { maxAttempts: 1 });
  await expect(model.ask(request, never)).rejects.toMatchObject({ code: Code.Unavailable });
  expect(llm.calls).toHaveLength(1);
});
