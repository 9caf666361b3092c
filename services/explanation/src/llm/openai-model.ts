import OpenAI, { APIConnectionError, APIError } from "openai";
import { failedPrecondition, resourceExhausted, type RpcError, unavailable } from "@mistral-sae/rpc";
import type { EndpointConfig } from "../config.ts";
import { backoffMs, EndpointGate, retryAfterMs } from "./backoff.ts";
import type { ChatReply, ChatRequest, LanguageModel } from "./language-model.ts";

/** How a reply's form is asked for: what strict endpoints take first, what any endpoint takes last. */
const replyForms = ["json_schema", "json_object", "plain"] as const;

/** A chat model behind any OpenAI-compatible endpoint. Retries are made here; the client makes none. */
export class OpenAiModel implements LanguageModel {
  readonly endpoint: string;
  readonly #client: OpenAI;
  readonly #config: EndpointConfig;
  readonly #gate: EndpointGate;
  /** Index into replyForms, by model: forms before it were refused. */
  readonly #form = new Map<string, number>();

  constructor(config: EndpointConfig) {
    this.endpoint = config.name;
    this.#config = config;
    this.#gate = new EndpointGate(config.maxConcurrency);
    this.#client = new OpenAI({
      baseURL: config.baseUrl,
      apiKey: config.apiKey,
      maxRetries: 0,
      timeout: config.timeoutMs,
      // A redirect could lead the key, and the texts, to another host.
      fetchOptions: { redirect: "error" },
    });
  }

  async ask(request: ChatRequest, signal: AbortSignal): Promise<ChatReply> {
    for (let attempt = 1; ; attempt++) {
      const form = this.#form.get(request.model) ?? 0;
      try {
        return await this.#gate.run(signal, async () => await this.#call(request, form, signal));
      } catch (error) {
        signal.throwIfAborted();
        if (form + 1 < replyForms.length && refusesForm(error)) {
          this.#form.set(request.model, form + 1);
          attempt -= 1;
          continue;
        }
        const delay = this.#retryDelay(error, attempt);
        if (delay === undefined || attempt >= this.#config.maxAttempts) throw this.#asRpcError(error, delay);
        this.#gate.pause(delay);
      }
    }
  }

  async #call(request: ChatRequest, form: number, signal: AbortSignal): Promise<ChatReply> {
    const completion = await this.#client.chat.completions.create(
      {
        model: request.model,
        messages: [
          { role: "system", content: request.system },
          { role: "user", content: request.user },
        ],
        temperature: request.temperature,
        // Endpoints read it as a JSON number; beyond 2^53 it could not be repeated.
        seed: Number(request.seed & 0x1f_ffff_ffff_ffffn),
        max_tokens: request.maxTokens,
        ...responseFormat(request, form),
      },
      { signal },
    );
    const choice = completion.choices[0];
    return {
      text: choice?.message.content ?? "",
      cut: choice?.finish_reason === "length",
      tokens: {
        promptTokens: completion.usage?.prompt_tokens ?? 0,
        completionTokens: completion.usage?.completion_tokens ?? 0,
      },
    };
  }

  /** Milliseconds until the same call may be made again; undefined where it never helps. */
  #retryDelay(error: unknown, attempt: number): number | undefined {
    if (error instanceof APIConnectionError) return backoffMs(attempt);
    if (!(error instanceof APIError)) return undefined;
    const status: unknown = error.status;
    if (status !== 408 && status !== 409 && status !== 429 && !(typeof status === "number" && status >= 500)) return undefined;
    const asked: unknown = error.headers;
    return (asked instanceof Headers ? retryAfterMs(asked.get("retry-after")) : undefined) ?? backoffMs(attempt);
  }

  #asRpcError(error: unknown, retryDelayMs: number | undefined): RpcError {
    const status: unknown = error instanceof APIError ? error.status : undefined;
    const text = error instanceof Error ? error.message : String(error);
    const message = `the language-model endpoint "${this.endpoint}" at ${this.#config.baseUrl}: ${text}`;
    if (status === 429) return resourceExhausted("LLM_RATE_LIMIT", message, retryDelayMs);
    if (retryDelayMs !== undefined) return unavailable("LLM_UNAVAILABLE", message, retryDelayMs);
    return failedPrecondition(status === 401 || status === 403 ? "LLM_UNAUTHENTICATED" : "LLM_REFUSED", message);
  }
}

function refusesForm(error: unknown): boolean {
  if (!(error instanceof APIError)) return false;
  const status: unknown = error.status;
  return (status === 400 || status === 422) && /response_format|json_schema|json_object|schema/i.test(error.message);
}

function responseFormat(request: ChatRequest, form: number): Partial<OpenAI.Chat.Completions.ChatCompletionCreateParamsNonStreaming> {
  const { name, schema } = request.schema;
  if (replyForms[form] === "json_schema") {
    return { response_format: { type: "json_schema", json_schema: { name, strict: true, schema: { ...schema } } } };
  }
  return replyForms[form] === "json_object" ? { response_format: { type: "json_object" } } : {};
}
