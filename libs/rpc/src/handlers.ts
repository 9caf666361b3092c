import type {
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodClientStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { unimplemented } from "./errors.ts";

/** What a handler knows of its call, whichever stack carries it. */
export interface CallContext {
  /** Aborts when the caller cancels, disconnects or its deadline passes. */
  readonly signal: AbortSignal;
  /** When the caller stops waiting. */
  readonly deadline: Date | undefined;
  /** A request header (metadata), by its lower-case name. */
  header(name: string): string | undefined;
}

/** The handler of one method; streams are async iterables. What a handler has yielded is its own again once it is resumed. */
export type MethodHandler<M extends DescMethod> =
  M extends DescMethodUnary<infer I, infer O>
    ? (request: MessageShape<I>, context: CallContext) => Promise<MessageInitShape<O>>
    : M extends DescMethodServerStreaming<infer I, infer O>
      ? (request: MessageShape<I>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
      : M extends DescMethodClientStreaming<infer I, infer O>
        ? (requests: AsyncIterable<MessageShape<I>>, context: CallContext) => Promise<MessageInitShape<O>>
        : M extends DescMethodBiDiStreaming<infer I, infer O>
          ? (requests: AsyncIterable<MessageShape<I>>, context: CallContext) => AsyncIterable<MessageInitShape<O>>
          : never;

/** Handlers of a service by method name. */
export type Handlers<S extends DescService> = { [K in keyof S["method"]]: MethodHandler<S["method"][K]> };

/** A handler with its types erased, as the adapters call it. */
export type AnyHandler = (request: unknown, context: CallContext) => unknown;

/** A service and its handlers, ready for either stack. */
export interface ServiceImplementation {
  readonly service: DescService;
  /** The handler of a method; methods left out answer UNIMPLEMENTED. */
  handler(method: DescMethod): AnyHandler;
}

/** Binds handlers to a service. Methods left out answer UNIMPLEMENTED. */
export function implement<S extends DescService>(service: S, handlers: Partial<Handlers<S>>): ServiceImplementation {
  const table = handlers as Readonly<Record<string, AnyHandler | undefined>>;
  return {
    service,
    handler: (method) => {
      const handler = table[method.localName];
      return handler === undefined ? missing(method) : handler.bind(handlers);
    },
  };
}

function missing(method: DescMethod): AnyHandler {
  const error = () => unimplemented(`${method.parent.typeName}/${method.name} is not offered here`);
  const streams = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
  if (!streams) return () => Promise.reject(error());
  return () => ({
    [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(error()) }),
  });
}
