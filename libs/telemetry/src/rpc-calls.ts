import { type Attributes, context, propagation, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { histogram, type MetricName } from "./instruments.ts";

/** The method of a call, as protobuf describes it. */
export interface CalledMethod {
  readonly name: string;
  readonly parent: { readonly typeName: string };
}

/** The failure of a call: its google.rpc.Code, and the reason in its ErrorInfo. */
export interface CallFailure {
  readonly code: number;
  readonly message: string;
  readonly reason?: string;
}

/** A call under way. */
export interface ObservedCall {
  /** Ends the call's span and records its duration; once. */
  (failure: CallFailure | undefined): void;
  /** Runs `work` as part of the call: its spans and log lines belong to the call's trace. */
  run<T>(work: () => T): T;
}

const codeNames = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
  "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
]; // prettier-ignore

/** Codes that are the server's fault; the others leave a server span unset, as the conventions want. */
const serverFaults = new Set(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]);

/** Observes the calls that a server takes; `start` fits the CallObserver of the rpc library. */
export const serverCalls = {
  start(method: CalledMethod, call: { header(name: string): string | undefined }): ObservedCall {
    const getter = { get: (from: typeof call, key: string) => from.header(key), keys: () => [] };
    const remote = propagation.extract(context.active(), call, getter);
    return observe(method, SpanKind.SERVER, "rpc.server.call.duration", remote, {});
  },
};

/** Observes the calls that a client makes. */
export const clientCalls = {
  /** `setHeader` receives the trace context that the peer is to continue. */
  start(method: CalledMethod, address: string, setHeader: (name: string, value: string) => void): ObservedCall {
    const at = address.lastIndexOf(":");
    const port = Number(address.slice(at + 1));
    const server: Attributes = at > 0 && Number.isInteger(port) ? { "server.address": address.slice(0, at), "server.port": port } : { "server.address": address };
    const call = observe(method, SpanKind.CLIENT, "rpc.client.call.duration", context.active(), server);
    call.run(() => propagation.inject(context.active(), setHeader, { set: (carrier, name, value) => carrier(name, value) }));
    return call;
  },
};

function observe(
  method: CalledMethod,
  kind: SpanKind,
  metric: MetricName,
  parent: ReturnType<typeof context.active>,
  extra: Attributes,
): ObservedCall {
  const name = `${method.parent.typeName}/${method.name}`;
  const attributes: Attributes = { "rpc.system.name": "grpc", "rpc.method": name, ...extra };
  const span: Span = trace.getTracer("mistral-sae").startSpan(name, { kind, attributes }, parent);
  const within = trace.setSpan(parent, span);
  const began = performance.now();
  let ended = false;
  const end = (failure: CallFailure | undefined): void => {
    if (ended) return;
    ended = true;
    const status = codeNames[failure?.code ?? 0] ?? "UNKNOWN";
    const outcome: Attributes = { "rpc.response.status_code": status };
    if (failure !== undefined) {
      outcome["error.type"] = failure.reason === undefined || failure.reason === "" ? status : failure.reason;
      if (kind === SpanKind.CLIENT || serverFaults.has(status)) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: failure.message });
      }
    }
    span.setAttributes(outcome);
    span.end();
    histogram(metric).record((performance.now() - began) / 1000, { ...attributes, ...outcome }, within);
  };
  return Object.assign(end, { run: <T>(work: () => T): T => context.with(within, work) });
}
