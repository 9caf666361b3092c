import type { DescMethod } from "@bufbuild/protobuf";
import type { RpcError } from "./errors.ts";
import type { CallContext } from "./handlers.ts";

/** Told of every call that a server takes: for spans, metrics and logs. */
export interface CallObserver {
  /** A call begins; the function returned is called once, at its end, with the error if there was one. */
  start(method: DescMethod, context: CallContext): (error: RpcError | undefined) => void;
}

/** Observes nothing. */
export const silentObserver: CallObserver = { start: () => () => undefined };
