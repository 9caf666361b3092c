import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { createClient, RpcError, unavailable, type CallContext, type CallOptions, type ServiceImplementation } from "@mistral-sae/rpc";

/** Request headers that go on to the backend. */
const FORWARDED_HEADERS = ["authorization", "x-request-id", "x-tenant-id", "traceparent", "tracestate"] as const;

/** The caller's deadline less this is the backend's, so that the backend's own error arrives in time. */
const DEADLINE_MARGIN_MS = 5;

type Call = (request: unknown, options: CallOptions) => unknown;

/** A service whose every method is answered by the same method at `address`: all kinds, deadlines, cancelling, error details. */
export function forward(service: DescService, backend: string, address: string): ServiceImplementation {
  const client = createClient(service, address) as unknown as Readonly<Record<string, Call>>;
  return {
    service,
    handler: (method) => {
      const call = client[method.localName] as Call;
      const away = (error: unknown): unknown => explainAway(error, backend, address);
      return answersOnce(method) ? unary(call, away) : streaming(call, away);
    },
  };
}

/** The options of a call made on behalf of another. */
export function callOptions(context: CallContext): CallOptions {
  const { signal, deadline } = context;
  const headers = FORWARDED_HEADERS.flatMap((name) => {
    const value = context.header(name);
    return value === undefined ? [] : [[name, value] as [string, string]];
  });
  return {
    signal,
    headers,
    ...(deadline === undefined ? {} : { timeoutMs: Math.max(1, deadline.getTime() - Date.now() - DEADLINE_MARGIN_MS) }),
  };
}

/** Names the backend in the error of a connection that could not be made; other errors pass as they are. */
export function explainAway(error: unknown, backend: string, address: string): unknown {
  if (!(error instanceof RpcError) || error.reason !== "CONNECTION_LOST") return error;
  return unavailable("BACKEND_DOWN", `the ${backend} service at ${address} cannot be reached: ${error.message}`);
}

function answersOnce(method: DescMethod): boolean {
  return method.methodKind === "unary" || method.methodKind === "client_streaming";
}

function unary(call: Call, away: (error: unknown) => unknown) {
  return async (request: unknown, context: CallContext): Promise<unknown> => {
    try {
      return await (call(request, callOptions(context)) as Promise<unknown>);
    } catch (error) {
      throw away(error);
    }
  };
}

function streaming(call: Call, away: (error: unknown) => unknown) {
  return async function* (request: unknown, context: CallContext): AsyncIterable<unknown> {
    try {
      yield* call(request, callOptions(context)) as AsyncIterable<unknown>;
    } catch (error) {
      throw away(error);
    }
  };
}
