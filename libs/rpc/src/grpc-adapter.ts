import { create, type DescMessage, type DescMethod, fromBinary, type Message, type MessageShape } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";
import type { CallContext, ServiceImplementation } from "./handlers.ts";
import { Code, RpcError } from "./errors.ts";
import { statusBytes, toRpcError } from "./status.ts";
import type { CallEnd, CallObserver } from "./observer.ts";
import { lengthOf, piecesOf } from "./pieces.ts";

type Duplex = grpc.ServerDuplexStream<Message, Message> & { readonly request?: Message };

/** The grpc-js definition of a service. */
export function grpcDefinition({ service }: ServiceImplementation): grpc.ServiceDefinition {
  const definition: Record<string, grpc.MethodDefinition<Message, Message>> = {};
  for (const method of service.methods) {
    definition[method.localName] = {
      path: `/${service.typeName}/${method.name}`,
      originalName: method.localName,
      requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
      responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
      requestSerialize: serialise(method.input),
      requestDeserialize: (bytes) => fromBinary(method.input, bytes),
      responseSerialize: serialise(method.output),
      responseDeserialize: (bytes) => fromBinary(method.output, bytes),
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
  const unary = (call: Duplex, done: grpc.sendUnaryData<Message>): void => {
    const context = contextOf(call);
    const end = observer.start(method, context);
    const reply = async () => handler(streamsIn ? requestsOf(call) : call.request, context);
    within(end, reply).then(
      (message) => {
        end(undefined);
        done(null, create(method.output, message as Record<string, unknown>));
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

async function pump(
  call: Duplex,
  output: DescMessage,
  messages: AsyncIterable<Record<string, unknown>>,
  signal: AbortSignal,
): Promise<void> {
  for await (const message of messages) {
    if (signal.aborted) throw new RpcError(Code.Canceled, "the call was cancelled", { reason: "CANCELLED" });
    if (!call.write(create(output, message))) await drained(call, signal);
  }
  call.end();
}

function drained(call: Duplex, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      call.off("drain", settle);
      signal.removeEventListener("abort", settle);
      resolve();
    };
    call.once("drain", settle);
    signal.addEventListener("abort", settle, { once: true });
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

/**
 * grpc-js asks a serialised message for its length and has it copied behind the frame's header, nothing else: so the
 * pieces of a large message are put there at once, and not first together.
 */
class Pieces implements Pick<Buffer, "byteLength"> {
  readonly byteLength: number;
  readonly #pieces: readonly Uint8Array[];

  constructor(pieces: readonly Uint8Array[]) {
    this.byteLength = lengthOf(pieces);
    this.#pieces = pieces;
  }

  copy(target: Uint8Array, start = 0): number {
    let at = start;
    for (const piece of this.#pieces) {
      target.set(piece, at);
      at += piece.length;
    }
    return this.byteLength;
  }
}

function serialise(message: DescMessage): (value: MessageShape<DescMessage>) => Buffer {
  return (value) => new Pieces(piecesOf(message, value)) as unknown as Buffer;
}
