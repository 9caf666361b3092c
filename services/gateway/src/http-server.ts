import * as http from "node:http";
import * as http2 from "node:http2";
import { createServer, type Server, type Socket } from "node:net";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { connectRoutes, type ServiceImplementation } from "@mistral-sae/rpc";
import { registry } from "./backends.ts";
import { isOpenAiPath, type OpenAiRoutes } from "./openai/routes.ts";
import { corsHeaders, originAllowed } from "./origins.ts";
import type { PageFile } from "./page-files.ts";
import { pathOf } from "./path.ts";

type RequestHandler = ReturnType<typeof connectNodeAdapter>;
type NodeServerRequest = Parameters<RequestHandler>[0];
type NodeServerResponse = Parameters<RequestHandler>[1];

/** What the edge serves. */
export interface EdgeOptions {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  readonly services: readonly ServiceImplementation[];
  readonly page: ReadonlyMap<string, PageFile>;
  /** What /healthz answers. */
  readonly health: () => unknown;
  /** Answers /v1/…; without it they do not exist. */
  readonly openAi?: OpenAiRoutes;
  readonly allowedOrigins: readonly string[];
  readonly maxRequestBytes: number;
}

/** A running edge. */
export interface Edge {
  /** host:port it listens on. */
  readonly address: string;
  /** Takes no more connections; what still runs after `graceMs` is cut. */
  close(graceMs?: number): Promise<void>;
}

const HTTP2_PREFACE = Buffer.from("PRI * HTTP/2.0", "latin1");
const PAGE_HEADERS = {
  "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "cache-control": "no-cache",
  "referrer-policy": "no-referrer",
} as const;

/**
 * HTTP/1.1 and HTTP/2 without TLS on one port: the page, /healthz, the OpenAI API under /v1, and Connect (JSON and binary), gRPC-Web and gRPC
 * for every service. Pages of other origins are refused unless they are allowed.
 */
export async function startEdge(options: EdgeOptions): Promise<Edge> {
  const rpc = connectNodeAdapter({
    routes: connectRoutes(options.services),
    jsonOptions: { registry },
    acceptCompression: [],
    readMaxBytes: options.maxRequestBytes,
    fallback: (request, response) => serveFile(request, response, options),
  });
  const handle = (request: NodeServerRequest, response: NodeServerResponse): void => {
    response.on("error", () => undefined);
    for (const [name, value] of Object.entries(corsHeaders(request.headers, options.allowedOrigins))) {
      if (value !== undefined) response.setHeader(name, value);
    }
    if (!originAllowed(request.headers, options.allowedOrigins)) return answerJson(response, 403, { message: refusal(request.headers.origin ?? "") });
    if (request.method === "OPTIONS") return answerEmpty(response, 204);
    rpc(request, response);
  };
  const one = http.createServer({ requestTimeout: 0 }, handle);
  const two = http2.createServer({ settings: { maxConcurrentStreams: 1024 } }, handle);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket)).on("error", () => socket.destroy());
    routeByPreface(socket, one, two);
  });
  const { host, port } = splitAddress(options.listen);
  const bound = await listen(server, host, port);
  return {
    address: `${host}:${bound}`,
    close: async (graceMs = 2000) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      one.closeIdleConnections();
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

function refusal(origin: string): string {
  return `pages of ${origin} may not call this server; MISTRAL_SAE_GATEWAY_ORIGINS lists those that may`;
}

/** An HTTP/2 client with prior knowledge begins with a fixed preface; anything else is HTTP/1.1. */
function routeByPreface(socket: Socket, one: http.Server, two: http2.Http2Server): void {
  socket.once("data", (chunk: Buffer) => {
    socket.pause();
    socket.unshift(chunk);
    if (chunk.subarray(0, HTTP2_PREFACE.length).equals(HTTP2_PREFACE)) {
      // HTTP/2 takes what is buffered when its session begins; resuming would lose it.
      two.emit("connection", socket);
      return;
    }
    one.emit("connection", socket);
    socket.resume();
  });
}

function serveFile(request: NodeServerRequest, response: NodeServerResponse, { page, health, openAi }: EdgeOptions): void {
  const path = pathOf(request.url);
  // HTTP/2's request and response have what the routes use of HTTP/1.1's.
  if (openAi !== undefined && isOpenAiPath(path)) return openAi(request as http.IncomingMessage, response as http.ServerResponse);
  if (request.method !== "GET" && request.method !== "HEAD") return answerJson(response, 405, { message: `${path} takes GET only` });
  if (path === "/healthz") return answerJson(response, 200, health());
  const file = page.get(path);
  if (file === undefined) return answerJson(response, 404, { message: `${path} does not exist` });
  if (request.headers["if-none-match"] === file.etag) return answerEmpty(response, 304);
  for (const [name, value] of Object.entries(PAGE_HEADERS)) response.setHeader(name, value);
  response.setHeader("etag", file.etag);
  answer(response, 200, file.contentType, request.method === "HEAD" ? Buffer.alloc(0) : file.body);
}

function answerJson(response: NodeServerResponse, status: number, value: unknown): void {
  answer(response, status, "application/json", Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`, "utf8"));
}

function answerEmpty(response: NodeServerResponse, status: number): void {
  response.statusCode = status;
  response.end();
}

function answer(response: NodeServerResponse, status: number, contentType: string, body: Buffer): void {
  response.statusCode = status;
  response.setHeader("content-type", contentType);
  response.setHeader("content-length", body.length);
  response.setHeader("x-content-type-options", "nosniff");
  // Both kinds of response take a Buffer; their overloads do not unify.
  (response as http.ServerResponse).end(body);
}

function splitAddress(address: string): { readonly host: string; readonly port: number } {
  const at = address.lastIndexOf(":");
  return { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
}

function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}
