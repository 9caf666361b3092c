import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { type CallOptions, type Client, ConnectError, createClient as createConnectClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { toRpcError } from "./status.ts";

export type { CallOptions, Client };

/** How a client connects. */
export interface ClientOptions {
  /** Deadline of calls that set none, in milliseconds; none by default. */
  readonly defaultTimeoutMs?: number;
  /** Headers sent with every call. */
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * A typed gRPC client of a service at `host:port`, without compression. Unary methods return promises, streams
 * async iterables; every call takes `{signal, timeoutMs, headers}`; failures reject with RpcError.
 */
export function createClient<S extends DescService>(service: S, address: string, options: ClientOptions = {}): Client<S> {
  const transport = createGrpcTransport({
    baseUrl: address.includes("://") ? address : `http://${address}`,
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
  for (const method of service.methods) outer[method.localName] = withRpcErrors(method, inner[method.localName] as AnyCall);
  return outer as unknown as Client<S>;
}

type AnyCall = (request: unknown, options?: CallOptions) => unknown;

function withRpcErrors(method: DescMethod, call: AnyCall): AnyCall {
  if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
    return async (request, options) => {
      try {
        return await (call(request, options));
      } catch (error) {
        throw toRpcError(ConnectError.from(error));
      }
    };
  }
  return (request, options) => iterate(call(request, options) as AsyncIterable<unknown>);
}

async function* iterate(messages: AsyncIterable<unknown>): AsyncIterable<unknown> {
  try {
    yield* messages;
  } catch (error) {
    throw toRpcError(ConnectError.from(error));
  }
}
