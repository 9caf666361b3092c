import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { type CallOptions, type Client, ConnectError, createClient as createConnectClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { clientCalls, type ObservedCall } from "@mistral-sae/telemetry";
import { Code, RpcError } from "./errors.ts";
import { toRpcError } from "./status.ts";
import { WideSessions } from "./wide-sessions.ts";

export type { CallOptions, Client };

/** How a client connects. */
export interface ClientOptions {
  /** Deadline of calls that set none, in milliseconds; none by default. */
  readonly defaultTimeoutMs?: number;
  /** Headers sent with every call. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Largest message taken, in bytes. */
  readonly maxReceiveBytes?: number;
  /** Bytes that a peer may send ahead of the reader. */
  readonly windowBytes?: number;
}

export const clientDefaults = {
  maxReceiveBytes: 64 << 20,
  windowBytes: 1 << 20,
} as const;

/**
 * A typed gRPC client of a service at `host:port`, without compression. Unary methods return promises, streams
 * async iterables; every call takes `{signal, timeoutMs, headers}`; failures reject with RpcError.
 */
export function createClient<S extends DescService>(service: S, address: string, options: ClientOptions = {}): Client<S> {
  const { maxReceiveBytes, windowBytes } = { ...clientDefaults, ...options };
  const baseUrl = address.includes("://") ? address : `http://${address}`;
  const transport = createGrpcTransport({
    baseUrl,
    sessionManager: new WideSessions(baseUrl, windowBytes),
    readMaxBytes: maxReceiveBytes,
    acceptCompression: [],
    ...(options.defaultTimeoutMs === undefined ? {} : { defaultTimeoutMs: options.defaultTimeoutMs }),
    ...(options.headers === undefined
      ? {}
      : {
          interceptors: [
            (next) => (request) => {
              for (const [name, value] of Object.entries(options.headers ?? {})) request.header.set(name, value);
              return next(request);
            },
          ],
        }),
  });
  const inner = createConnectClient(service, transport) as unknown as Readonly<Record<string, AnyCall>>;
  const outer: Record<string, AnyCall> = {};
  for (const method of service.methods) outer[method.localName] = observed(method, address, inner[method.localName] as AnyCall);
  return outer as unknown as Client<S>;
}

/** After which a caller may try again whose peer is not there. */
const RETRY_DELAY_MS = 1000;

type AnyCall = (request: unknown, options?: CallOptions) => unknown;

/** The call with its span, its trace context on the wire and its failures as RpcError. */
function observed(method: DescMethod, address: string, call: AnyCall): AnyCall {
  const start = (options: CallOptions | undefined) => {
    const headers = new Headers(options?.headers);
    const observation = clientCalls.start(method, address, (name, value) => headers.set(name, value));
    return { observation, options: { ...options, headers } };
  };
  if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
    return async (request, given) => {
      const { observation, options } = start(given);
      try {
        const reply = await (call(request, options) as Promise<unknown>);
        observation(undefined);
        return reply;
      } catch (error) {
        throw failure(observation, error, given?.signal);
      }
    };
  }
  return (request, given) => {
    const { observation, options } = start(given);
    // Connect leaves a stream running whose reader stops early: the far side is told by an abort.
    const stopped = new AbortController();
    const signal = given?.signal === undefined ? stopped.signal : AbortSignal.any([given.signal, stopped.signal]);
    return iterate(call(request, { ...options, signal }) as AsyncIterable<unknown>, observation, stopped, given?.signal);
  };
}

async function* iterate(
  messages: AsyncIterable<unknown>,
  observation: ObservedCall,
  stopped: AbortController,
  signal: AbortSignal | undefined,
): AsyncIterable<unknown> {
  try {
    yield* messages;
  } catch (error) {
    throw failure(observation, error, signal);
  } finally {
    observation(undefined);
    stopped.abort();
  }
}

function failure(observation: ObservedCall, error: unknown, signal: AbortSignal | undefined): RpcError {
  const connectError = ConnectError.from(error);
  const rpcError = connectionLost(connectError, signal)
    ? new RpcError(Code.Unavailable, connectError.rawMessage, { reason: "CONNECTION_LOST", retryDelayMs: RETRY_DELAY_MS, cause: connectError })
    : toRpcError(connectError);
  observation(rpcError);
  return rpcError;
}

/** Whether the far side is not there or vanished in the middle of the call, which connect tells as CANCELLED, ABORTED or INTERNAL. */
function connectionLost(error: ConnectError, signal: AbortSignal | undefined): boolean {
  if (error.isWireError || signal?.aborted === true) return false;
  if (error.code === Code.Unavailable || error.rawMessage.startsWith("http/2 stream closed")) return true;
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && /^(?:ERR_HTTP2_|ECONNRESET$|EPIPE$)/.test(String(cause.code))) return true;
  }
  return false;
}
