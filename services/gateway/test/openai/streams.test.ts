import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { implement, type RunningServer, startServer } from "@mistral-sae/rpc";
import OpenAI, { APIUserAbortError } from "openai";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { configDefaults } from "../../src/config.ts";
import { gatewayServices } from "../../src/gateway.ts";
import { type Edge, startEdge } from "../../src/http-server.ts";
import { openAiRoutes } from "../../src/openai/routes.ts";

const EVENT_BYTES = 64 << 10;
const seen = { steps: 0, open: 0, headers: new Map<string, string | undefined>() };
let backend: RunningServer;
let edge: Edge;

beforeAll(async () => {
  // A model that writes for ever, as fast as it is read.
  const endless = implement(InferenceService, {
    async *generate(_request, context) {
      for (const name of ["x-request-id", "authorization"]) seen.headers.set(name, context.header(name));
      seen.open++;
      try {
        yield { event: { case: "started", value: { seed: 1n } } };
        for (; !context.signal.aborted; seen.steps++) yield { event: { case: "step", value: { variantId: "choice", step: seen.steps, textDelta: "x".repeat(EVENT_BYTES) } } };
      } finally {
        seen.open--;
      }
    },
  });
  backend = await startServer({ listen: "127.0.0.1:0", services: [endless] });
  const backends = { ...configDefaults.backends, inference: backend.address };
  edge = await startEdge({
    listen: "127.0.0.1:0",
    services: gatewayServices(backends),
    page: new Map(),
    health: () => ({}),
    openAi: openAiRoutes({ backends, maxRequestBytes: 1 << 20 }),
    allowedOrigins: [],
    maxRequestBytes: 1 << 20,
  });
});

afterAll(async () => {
  await edge.close(0);
  await backend.close(0);
});

beforeEach(() => {
  seen.steps = 0;
});

test("a client that stops reading a stream ends its generations, and its headers arrive", async () => {
  const client = new OpenAI({ baseURL: `http://${edge.address}/v1`, apiKey: "secret", maxRetries: 0, defaultHeaders: { "x-request-id": "mine" } });
  for await (const _ of await client.chat.completions.create({ model: "demo", messages: [{ role: "user", content: "Hello" }], stream: true, n: 3 })) break;
  await vi.waitFor(() => expect(seen.open).toBe(0));
  expect(Object.fromEntries(seen.headers)).toEqual({ "x-request-id": "mine", authorization: "Bearer secret" });
});

test("a client that goes away before a whole answer ends its generation", async () => {
  const gone = new AbortController();
  const client = new OpenAI({ baseURL: `http://${edge.address}/v1`, apiKey: "none", maxRetries: 0 });
  const answer = client.completions.create({ model: "demo", prompt: "Hello" }, { signal: gone.signal }).catch((error: unknown) => error);
  await vi.waitFor(() => expect(seen.open).toBe(1));
  gone.abort();
  expect(await answer).toBeInstanceOf(APIUserAbortError);
  await vi.waitFor(() => expect(seen.open).toBe(0));
});

test("a client that reads slowly slows its generation", async () => {
  const socket = connectSocket(Number(edge.address.split(":")[1]), "127.0.0.1");
  const body = JSON.stringify({ model: "demo", prompt: "Hello", stream: true });
  socket.write(`POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  await once(socket, "readable");
  socket.pause();
  // What fits into the buffers on the way is made, then no more.
  let before = -1;
  while (before !== seen.steps) {
    before = seen.steps;
    await sleep(300);
  }
  expect(seen.steps * EVENT_BYTES).toBeLessThan(64 << 20);
  socket.resume();
  await vi.waitFor(() => expect(seen.steps).toBeGreaterThan(2 * before));
  socket.destroy();
  await vi.waitFor(() => expect(seen.open).toBe(0));
});
