import { create, type DescMessage, type DescMethod, fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import { Frame } from "./frame.ts";
import type { CallContext, ServiceImplementation } from "./handlers.ts";
import { Code, RpcError } from "./errors.ts";
import { statusBytes, toRpcError } from "./status.ts";
import type { CallEnd, CallObserver } from "./observer.ts";

/** A call whose replies are written as frames. */
type Duplex = grpc.ServerDuplexStream<Message, Frame> & { readonly request?: Message };

/** The grpc-js definition of a service. */
export function grpcDefinition({ service }: ServiceImplementation): grpc.ServiceDefinition {
  const definition: Record<string, grpc.MethodDefinition<Message, Frame>> = {};
  for (const method of service.methods) {
    definition[method.localName] = {
      path: `/${service.typeName}/${method.name}`,
      originalName: method.localName,
      requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
      responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
      requestSerialize: (message) => Buffer.from(toBinary(method.input, message)),
      requestDeserialize: (bytes) => fromBinary(method.input, bytes),
      // Handlers' replies arrive here as frames already.
      responseSerialize: (frame) => frame as unknown as Buffer,
      responseDeserialize: (bytes) => new Frame(method.output, fromBinary(method.output, bytes)),
    };
  }
  return definition;
}

/** grpc-js handlers that run the implementation's handlers. */
export function grpcHandlers(
  implementation: ServiceImplementation,
  observer: CallObserver,
): grpc.UntypedServiceImplementation {
  const handlers: grpc.UntypedServiceImplementation = {};
  for (const method of implementation.service.methods) handlers[method.localName] = wrap(implementation, method, observer);
  return handlers;
}

function wrap(implementation: ServiceImplementation, method: DescMethod, observer: CallObserver): grpc.UntypedHandleCall {
  const handler = implementation.handler(method);
  const streamsIn = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  if (method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming") {
    return (call: Duplex) => {
      const context = contextOf(call);
      const end = observer.start(method, context);
      let messages: AsyncIterable<Record<string, unknown>>;
      try {
        messages = within(end, () => handler(streamsIn ? requestsOf(call) : call.request, context)) as AsyncIterable<Record<string, unknown>>;
      } catch (error) {
        fail(call, error, end);
        return;
      }
      within(end, async () => pump(call, method.output, messages, context.signal)).then(
        () => end(undefined),
        (error: unknown) => fail(call, error, end),
      );
    };
  }
  const unary = (call: Duplex, done: grpc.sendUnaryData<Frame>): void => {
    const context = contextOf(call);
    const end = observer.start(method, context);
    const reply = async () => {
      const message = (await handler(streamsIn ? requestsOf(call) : call.request, context)) as Record<string, unknown>;
      return new Frame(method.output, create(method.output, message));
    };
    within(end, reply).then(
      (frame) => {
        end(undefined);
        done(null, frame);
      },
      (error: unknown) => {
        const rpcError = toRpcError(error);
        end(rpcError);
        done(statusObject(rpcError));
      },
    );
  };
  // grpc-js tells the four kinds apart by the definition, not by the type of the handler.
  return unary as unknown as grpc.UntypedHandleCall;
}

function within<T>(end: CallEnd, work: () => T): T {
  return end.run === undefined ? work() : end.run(work);
}

function fail(call: Duplex, error: unknown, end: CallEnd): void {
  const rpcError = toRpcError(error);
  end(rpcError);
  if (!call.cancelled) call.emit("error", statusObject(rpcError));
}

/**
 * Sends what a handler yields. A message is written when the handler is resumed, so that the handler may use its memory
 * again; the next one is made meanwhile, and goes out when the network has taken this one.
 */
async function pump(
  call: Duplex,
  output: DescMessage,
  messages: AsyncIterable<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  let before: Promise<void> | undefined;
  for await (const message of messages) {
    await before;
    if (signal.aborted) throw new RpcError(Code.Canceled, "the call was cancelled", { reason: "CANCELLED" });
    before = sent(call, new Frame(output, create(output, message)), signal);
  }
  await before;
  call.end();
}

/** Writes a frame and waits until it is sent or nobody waits for it any more. */
function sent(call: Duplex, frame: Frame, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      signal.removeEventListener("abort", settle);
      resolve();
    };
    signal.addEventListener("abort", settle, { once: true });
    call.write(frame, (error?: Error | null) => {
      if (error === undefined || error === null) frame.free();
      settle();
    });
    if (signal.aborted) settle();
  });
}

/** The messages of a client stream; a handler that stops reading early must not destroy the stream it answers on. */
function requestsOf(call: Duplex): AsyncIterable<unknown> {
  return { [Symbol.asyncIterator]: () => call.iterator({ destroyOnReturn: false }) };
}

function contextOf(call: Duplex): CallContext {
  const abort = new AbortController();
  call.on("cancelled", () => abort.abort());
  const deadline = call.getDeadline();
  return {
    signal: abort.signal,
    deadline: deadline instanceof Date ? deadline : Number.isFinite(deadline) ? new Date(deadline) : undefined,
    header: (name) => call.metadata.get(name)[0]?.toString(),
  };
}

function statusObject(error: RpcError): Partial<grpc.StatusObject> & Error {
  const metadata = new grpc.Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(statusBytes(error)));
  return Object.assign(new Error(error.message), { code: error.code as number, details: error.message, metadata });
}
