import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { GatewayConfig } from "../config.ts";
import { callOptions } from "../forward.ts";
import { pathOf } from "../path.ts";
import { answerChat, streamChat } from "./answer-chat.ts";
import { answerCompletion, streamCompletion } from "./answer-completion.ts";
import { readChatRequest } from "./chat.ts";
import { type Exchange, openAiBackends } from "./clients.ts";
import { readCompletionRequest } from "./completion.ts";
import { ApiError, toApiError } from "./errors.ts";
import { EventStream, readJson, sendError, sendJson } from "./http.ts";
import { getModel, listModels } from "./models.ts";

/** Answers a request of the OpenAI API. */
export type OpenAiRoutes = (request: IncomingMessage, response: ServerResponse) => void;

/** Whether a path belongs to the routes. */
export function isOpenAiPath(path: string): boolean {
  return path === "/v1" || path.startsWith("/v1/");
}

const MODEL = "/v1/models/";
const CHAT = "/v1/chat/completions";
const COMPLETION = "/v1/completions";

/**
 * /v1/models, /v1/models/{id}, /v1/completions and /v1/chat/completions as the OpenAI API has them, over the inference
 * and steering services. A client that goes away ends its generations.
 */
export function openAiRoutes({ backends: addresses, maxRequestBytes }: Pick<GatewayConfig, "backends" | "maxRequestBytes">): OpenAiRoutes {
  const backends = openAiBackends(addresses);
  return (request, response) => {
    const path = pathOf(request.url);
    const gone = new AbortController();
    response.on("close", () => gone.abort());
    const id = headerOf(request, "x-request-id") ?? `req_${randomUUID()}`;
    response.setHeader("x-request-id", id);
    const header = (name: string) => (name === "x-request-id" ? id : headerOf(request, name));
    const exchange: Exchange = { backends, options: { ...callOptions({ signal: gone.signal, deadline: undefined, header }), signal: gone.signal } };
    answer(path, request, response, exchange, maxRequestBytes).catch((error: unknown) => {
      if (!gone.signal.aborted) sendError(response, toApiError(error, path === CHAT));
    });
  };
}

async function answer(path: string, request: IncomingMessage, response: ServerResponse, exchange: Exchange, maxBytes: number): Promise<void> {
  const takes = path === CHAT || path === COMPLETION ? "POST" : path === "/v1/models" || path.startsWith(MODEL) ? "GET" : undefined;
  if (takes === undefined) throw new ApiError(`${path} does not exist; there are /v1/models, /v1/completions and /v1/chat/completions`, { status: 404, code: "unknown_url" });
  if (request.method !== takes) throw new ApiError(`${path} takes ${takes}, not ${request.method ?? ""}`, { status: 405, code: "method_not_allowed" });
  if (path === "/v1/models") return sendJson(response, 200, await listModels(exchange));
  if (takes === "GET") return sendJson(response, 200, await getModel(path.slice(MODEL.length), exchange));
  const body = await readJson(request, maxBytes);
  const stream = new EventStream(response, exchange.options.signal);
  if (path === CHAT) {
    const chat = await readChatRequest(body, exchange);
    return chat.stream ? streamChat(chat, exchange, stream) : sendJson(response, 200, await answerChat(chat, exchange));
  }
  const completion = await readCompletionRequest(body, exchange);
  return completion.stream ? streamCompletion(completion, exchange, stream) : sendJson(response, 200, await answerCompletion(completion, exchange));
}

function headerOf(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
