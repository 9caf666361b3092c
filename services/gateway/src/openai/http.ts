import type { IncomingMessage, ServerResponse } from "node:http";
import { ApiError } from "./errors.ts";

/** A request's body as JSON. @throws ApiError 413 beyond `maxBytes`, 400 for what is no JSON. */
export async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw new ApiError(`the body has more than ${maxBytes} bytes`, { status: 413, code: "request_too_large" });
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString("utf8")) as unknown;
  } catch (error) {
    throw new ApiError(`the body is not JSON: ${error instanceof Error ? error.message : String(error)}`, { code: "invalid_json" });
  }
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = Buffer.from(JSON.stringify(value), "utf8");
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", body.length);
  response.setHeader("x-content-type-options", "nosniff");
  response.end(body);
}

/** Answers with an error, or, when a stream of events has begun, ends it with one. */
export function sendError(response: ServerResponse, error: ApiError): void {
  if (response.destroyed) return;
  if (response.headersSent) {
    response.end(`data: ${JSON.stringify(error.body)}\n\n`);
    return;
  }
  if (error.retryAfterMs !== undefined) {
    response.setHeader("retry-after", Math.max(1, Math.ceil(error.retryAfterMs / 1000)));
    response.setHeader("retry-after-ms", Math.ceil(error.retryAfterMs));
  }
  sendJson(response, error.status, error.body);
}

/** Server-sent events. `send` waits while the reader is behind. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #signal: AbortSignal;

  constructor(response: ServerResponse, signal: AbortSignal) {
    this.#response = response;
    this.#signal = signal;
  }

  async send(event: unknown): Promise<void> {
    const response = this.#response;
    this.#signal.throwIfAborted();
    if (!response.headersSent) {
      response.statusCode = 200;
      response.setHeader("content-type", "text/event-stream; charset=utf-8");
      response.setHeader("cache-control", "no-cache");
      response.setHeader("x-accel-buffering", "no");
    }
    if (response.write(`data: ${JSON.stringify(event)}\n\n`)) return;
    await new Promise<void>((resolve) => {
      const settle = (): void => {
        response.off("drain", settle);
        response.off("close", settle);
        resolve();
      };
      response.once("drain", settle).once("close", settle);
    });
  }

  end(): void {
    this.#response.end("data: [DONE]\n\n");
  }
}
