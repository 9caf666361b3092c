import type { DescMethod } from "@bufbuild/protobuf";
import type { RpcError } from "./errors.ts";
import type { CallContext } from "./handlers.ts";

/** Ends an observed call. */
export interface CallEnd {
  /** Called once, with the error if there was one. */
  (error: RpcError | undefined): void;
  /** Runs the call's work so that its own spans and log lines belong to it. */
  run?<T>(work: () => T): T;
}

/** Told of every call that a server takes: for spans, metrics and logs. */
export interface CallObserver {
  /** A call begins. */
  start(method: DescMethod, context: CallContext): CallEnd;
}

/** Observes nothing. */
export const silentObserver: CallObserver = { start: () => () => undefined };
