import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { gatewayServices } from "../src/gateway.ts";
import { type Edge, startEdge } from "../src/http-server.ts";
import { startFakeBackends, type FakeBackends } from "./support/fake-backends.ts";

const GET_MODEL = "/mistral_sae.inference.v1.InferenceService/GetModel";
const page = new Map([["/", { body: Buffer.from("<!doctype html>"), contentType: "text/html; charset=utf-8", etag: '"e"' }]]);
let fakes: FakeBackends;
let edge: Edge;
let url: string;

beforeAll(async () => {
  fakes = await startFakeBackends();
  edge = await startEdge({
    listen: "127.0.0.1:0",
    services: gatewayServices(fakes.addresses),
    page,
    health: () => ({ status: "ok" }),
    allowedOrigins: ["https://notebook.example"],
    maxRequestBytes: 64 << 10,
  });
  url = `http://${edge.address}`;
});

afterAll(async () => {
  await edge.close(0);
  await fakes.close();
});

function postJson(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}${path}`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
}

describe("Connect JSON", () => {
  test("answers a plain POST", async () => {
    const response = await postJson(GET_MODEL, { name: "models/demo" });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ model: { name: "models/demo", dModel: 256 } });
    expect(response.headers.get("content-encoding")).toBeNull();
  });

  test("tells a refusal with its reason and field", async () => {
    const response = await postJson(GET_MODEL, { name: "models/none" });
    expect(response.status).toBe(400);
    const body = (await response.json()) as { readonly code: string; readonly details: readonly { readonly type: string; readonly debug: unknown }[] };
    expect(body.code).toBe("invalid_argument");
    expect(body.details.map(({ type }) => type)).toEqual(["google.rpc.ErrorInfo", "google.rpc.BadRequest"]);
    expect(body.details[1]?.debug).toEqual({ fieldViolations: [{ field: "name", description: 'got "models/none", wanted models/demo' }] });
  });

  test("refuses a field that does not exist, and JSON that is none", async () => {
    expect((await postJson(GET_MODEL, { nmae: "models/demo" })).status).toBe(400);
    const broken = await fetch(`${url}${GET_MODEL}`, { method: "POST", headers: { "content-type": "application/json" }, body: "{" });
    expect(broken.status).toBe(400);
  });

  test("refuses a request above the limit", async () => {
    const response = await postJson(GET_MODEL, { name: "x".repeat(70_000) });
    expect(((await response.json()) as { readonly code: string }).code).toBe("resource_exhausted");
  });

  test("writes what an operation made, whatever its type", async () => {
    const response = await postJson("/mistral_sae.operations.v1.OperationService/GetOperation", { name: "operations/training/job-0" });
    expect(await response.json()).toMatchObject({
      operation: { response: { "@type": "type.googleapis.com/mistral_sae.feature_index.v1.FeatureIndex", name: "indexes/job-0" } },
    });
  });
});

describe("every protocol and kind of method", () => {
  const transports: readonly (readonly [string, () => Transport])[] = [
    ["Connect over HTTP/1.1", () => createConnectTransport({ baseUrl: url, httpVersion: "1.1" })],
    ["Connect over HTTP/2", () => createConnectTransport({ baseUrl: url, httpVersion: "2" })],
    ["gRPC-Web over HTTP/1.1", () => createGrpcWebTransport({ baseUrl: url, httpVersion: "1.1" })],
    ["gRPC over HTTP/2", () => createGrpcTransport({ baseUrl: url })],
  ];

  test.each(transports)("unary, error details and server streams by %s", async (_name, transport) => {
    const client = createClient(InferenceService, transport());
    expect((await client.getModel({ name: "models/demo" })).model?.dModel).toBe(256);
    const error = ConnectError.from(await client.getModel({ name: "models/busy" }).catch((reason: unknown) => reason));
    expect(error.code).toBe(Code.ResourceExhausted);
    expect(error.details).toHaveLength(2);
    const texts: string[] = [];
    for await (const { event } of client.generate({})) {
      if (event.case === "step") texts.push(event.value.textDelta);
      if (texts.length === 3) break;
    }
    expect(texts).toEqual([" 0", " 1", " 2"]);
  });

  test.each(transports)("client streams by %s", async (_name, transport) => {
    async function* chunks() {
      yield { index: "indexes/a", shard: 2, seq: 5n };
    }
    expect((await createClient(FeatureIndexService, transport()).ingestActivations(chunks())).committedSeq).toEqual({ 2: 5n });
  });

  test.each(transports.filter(([name]) => name.endsWith("HTTP/2")))("streams in both directions by %s", async (_name, transport) => {
    async function* chunks() {
      yield { chunkId: 4n };
      yield { chunkId: 5n };
    }
    const ids: bigint[] = [];
    for await (const { chunkId } of createClient(SaeService, transport()).encode(chunks())) ids.push(chunkId);
    expect(ids).toEqual([4n, 5n]);
  });

  test.each(transports)("a caller that goes away ends the call in the backend: %s", async (_name, transport) => {
    fakes.seen.aborted.length = 0;
    const cancel = new AbortController();
    const stream = createClient(InferenceService, transport()).generate({}, { signal: cancel.signal });
    await expect(async () => {
      for await (const _ of stream) cancel.abort();
    }).rejects.toThrow(ConnectError);
    await vi.waitFor(() => expect(fakes.seen.aborted).toEqual(["generate"]));
  });
});

describe("pages", () => {
  test("are served with headers that forbid foreign content, and not again when unchanged", async () => {
    const response = await fetch(`${url}/`);
    expect(await response.text()).toBe("<!doctype html>");
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    expect((await fetch(`${url}/`, { headers: { "if-none-match": '"e"' } })).status).toBe(304);
  });

  test("that do not exist, and paths out of the folder, are not found", async () => {
    expect((await fetch(`${url}/nothing.html`)).status).toBe(404);
    expect((await fetch(`${url}/..%2f..%2fpackage.json`)).status).toBe(404);
  });

  test("of this host may call, of other origins may not", async () => {
    expect((await postJson(GET_MODEL, { name: "models/demo" }, { origin: url })).status).toBe(200);
    const foreign = await postJson(GET_MODEL, { name: "models/demo" }, { origin: "https://evil.example" });
    expect(foreign.status).toBe(403);
    expect(foreign.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("of an allowed origin get their preflight answered", async () => {
    const response = await fetch(`${url}${GET_MODEL}`, { method: "OPTIONS", headers: { origin: "https://notebook.example" } });
    expect(response.status).toBe(204);
    expect(response.headers.get("access-control-allow-origin")).toBe("https://notebook.example");
    expect(response.headers.get("access-control-allow-headers")).toContain("Connect-Protocol-Version");
    const asking = { origin: "https://notebook.example", "access-control-request-headers": "authorization,x-stainless-lang" };
    const asked = await fetch(`${url}/v1/models`, { method: "OPTIONS", headers: asking });
    expect(asked.headers.get("access-control-allow-headers")).toBe("authorization,x-stainless-lang");
  });
});

test("healthz answers as JSON", async () => {
  const response = await fetch(`${url}/healthz`);
  expect(response.headers.get("content-type")).toBe("application/json");
  expect(await response.json()).toEqual({ status: "ok" });
});

test.each(["//", "//%", "/%zz", "*", "http://"])("the target %s is answered, and the server lives", async (target) => {
  const socket = connectSocket(Number(edge.address.split(":")[1]), "127.0.0.1");
  socket.write(`GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(answer.toString("latin1")).toMatch(/^HTTP\/1\.1 4\d\d /);
  socket.destroy();
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});

test("a connection that sends rubbish is closed and the next one is served", async () => {
  const socket = connectSocket(Number(edge.address.split(":")[1]), "127.0.0.1");
  socket.on("error", () => undefined).resume();
  socket.write("PRI * HTTP/2.0\r\n\r\nrubbish\r\n\r\nrubbish rubbish rubbish rubbish");
  await once(socket, "close");
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
});
