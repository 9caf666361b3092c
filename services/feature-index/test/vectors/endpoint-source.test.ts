import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Code } from "@mistral-sae/rpc";
import { afterEach, expect, it } from "vitest";
import { endpointEmbeddingsDefaults, readEmbeddingsConfig } from "../../src/vectors/embeddings-config.ts";
import { EndpointSource } from "../../src/vectors/endpoint-source.ts";

const KEY = "sk-secret-of-the-test";
const signal = new AbortController().signal;
let server: Server | undefined;

interface Call {
  readonly authorization: string | undefined;
  readonly body: { readonly model: string; readonly input: readonly string[]; readonly dimensions?: number };
}

/** An endpoint that answers calls by their number, or with a vector of each text's length. */
async function endpoint(answers: readonly ((response: ServerResponse) => void)[], options: { dimensions?: number; maxAttempts?: number } = {}) {
  const calls: Call[] = [];
  server = createServer((request: IncomingMessage, response: ServerResponse) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Call["body"];
      const answer = answers[calls.length];
      calls.push({ authorization: request.headers.authorization, body });
      if (answer !== undefined) return answer(response);
      const data = body.input.map((text, index) => ({ index, embedding: [text.length, 1] })).toReversed();
      response.end(JSON.stringify({ data }));
    })();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return { calls, source: new EndpointSource({ ...endpointEmbeddingsDefaults, ...options, kind: "endpoint", baseUrl, model: "small", apiKey: KEY, batchSize: 2, timeoutMs: 2_000 }) };
}

const status = (code: number, headers: Record<string, string> = {}, body = `no: ${KEY}`) => (response: ServerResponse) => response.writeHead(code, headers).end(body);

afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

it("asks in batches and puts vectors in the order of the texts", async () => {
  const { source, calls } = await endpoint([]);
  const { vectors } = await source.embed(["a", "bcd", "ef"], "text", signal);
  expect(vectors.map((vector) => [...vector])).toEqual([[1, 1], [3, 1], [2, 1]]);
  expect(calls.map(({ body }) => body.input)).toEqual([["a", "bcd"], ["ef"]]);
  expect(calls[0]).toMatchObject({ authorization: `Bearer ${KEY}`, body: { model: "small" } });
});

it("tries again after 429, when it was told to, and after a server's error", async () => {
  const { source, calls } = await endpoint([status(429, { "retry-after": "0" }), status(503, { "retry-after": "0.01" })]);
  expect((await source.embed(["a"], "text", signal)).vectors).toHaveLength(1);
  expect(calls).toHaveLength(3);
});

it("says how long to wait where the endpoint goes on refusing, and lets a query not wait that long", async () => {
  const { source, calls } = await endpoint([status(429, { "retry-after": "30" })]);
  await expect(source.embed(["a"], "query", signal)).rejects.toMatchObject({ code: Code.ResourceExhausted, reason: "EMBEDDINGS_RATE_LIMIT", retryDelayMs: 30_000 });
  expect(calls).toHaveLength(1);
});

it.each([
  ["a refused key", status(401), Code.FailedPrecondition, "EMBEDDINGS_UNAUTHENTICATED"],
  ["a refused text", status(400), Code.FailedPrecondition, "EMBEDDINGS_REFUSED"],
  ["an endpoint that fails", status(500, { "retry-after": "0" }), Code.Unavailable, "EMBEDDINGS_UNAVAILABLE"],
  ["too few vectors", status(200, {}, '{"data": []}'), Code.FailedPrecondition, "EMBEDDINGS_REFUSED"],
  ["what is no vector", status(200, {}, '{"data": [{"embedding": ["x"]}]}'), Code.FailedPrecondition, "EMBEDDINGS_REFUSED"],
])("tells %s by name, and never the key", async (_, answer, code, reason) => {
  const { source } = await endpoint([answer, answer], { maxAttempts: 2 });
  const error: unknown = await source.embed(["a"], "text", signal).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ code, reason });
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(KEY);
});

it("refuses vectors of another size than asked for", async () => {
  const { source, calls } = await endpoint([], { dimensions: 3 });
  await expect(source.embed(["a"], "text", signal)).rejects.toThrow(/vector of 2 values, wanted 3/);
  expect(calls[0]?.body.dimensions).toBe(3);
});

it("is configured by the environment", () => {
  expect(readEmbeddingsConfig({})).toEqual({ kind: "own" });
  expect(readEmbeddingsConfig({ MISTRAL_SAE_EMBEDDINGS_FOLDER: "models/mini" })).toEqual({ kind: "folder", folder: "models/mini" });
  const endpointOf = { MISTRAL_SAE_EMBEDDINGS_BASE_URL: "https://host/v1/", MISTRAL_SAE_EMBEDDINGS_MODEL: "small" };
  expect(readEmbeddingsConfig(endpointOf)).toEqual({ ...endpointEmbeddingsDefaults, kind: "endpoint", baseUrl: "https://host/v1", model: "small" });
  expect(() => readEmbeddingsConfig({ ...endpointOf, MISTRAL_SAE_EMBEDDINGS_FOLDER: "x" })).toThrow(/one source/);
  expect(() => readEmbeddingsConfig({ MISTRAL_SAE_EMBEDDINGS_BASE_URL: "https://host/v1" })).toThrow(/MODEL/);
  expect(() => readEmbeddingsConfig({ ...endpointOf, MISTRAL_SAE_EMBEDDINGS_BASE_URL: "https://me:secret@host" })).toThrow(/API_KEY/);
});
