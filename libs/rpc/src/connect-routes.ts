import type { ConnectRouter, HandlerContext } from "@connectrpc/connect";
import { create, type DescMethod } from "@bufbuild/protobuf";
import type { AnyHandler, CallContext, ServiceImplementation } from "./handlers.ts";
import { toConnectError, toRpcError } from "./status.ts";

/** Registers implementations with a Connect router: Connect, gRPC-Web and gRPC from the same handlers. */
export function connectRoutes(services: readonly ServiceImplementation[]): (router: ConnectRouter) => void {
  return (router) => {
    for (const implementation of services) {
      for (const method of implementation.service.methods) {
        router.rpc(method, adapt(method, implementation.handler(method)) as never);
      }
    }
  };
}

function adapt(method: DescMethod, handler: AnyHandler): (request: unknown, context: HandlerContext) => unknown {
  if (method.methodKind === "unary" || method.methodKind === "client_streaming") {
    return async (request, context) => {
      try {
        return create(method.output, (await handler(request, contextOf(context))) as Record<string, unknown>);
      } catch (error) {
        throw toConnectError(toRpcError(error));
      }
    };
  }
  return async function* (request, context) {
    try {
      for await (const message of handler(request, contextOf(context)) as AsyncIterable<Record<string, unknown>>) {
        yield create(method.output, message);
      }
    } catch (error) {
      throw toConnectError(toRpcError(error));
    }
  };
}

function contextOf(context: HandlerContext): CallContext {
  const remaining = context.timeoutMs();
  return {
    signal: context.signal,
    deadline: remaining === undefined ? undefined : new Date(Date.now() + remaining),
    header: (name) => context.requestHeader.get(name) ?? undefined,
  };
}
