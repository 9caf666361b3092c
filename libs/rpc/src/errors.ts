import { Code } from "@connectrpc/connect";

export { Code };

/** One field of a request that was refused. */
export interface FieldViolation {
  /** Path of the field as in the proto, e.g. `sampling.top_p`. */
  readonly field: string;
  /** What was got and what was wanted. */
  readonly description: string;
}

/** What an {@link RpcError} carries beside its message. */
export interface RpcErrorDetails {
  /** `google.rpc.ErrorInfo.reason`, UPPER_SNAKE_CASE. */
  readonly reason?: string;
  /** `google.rpc.ErrorInfo.metadata`. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** `google.rpc.BadRequest.field_violations`. */
  readonly violations?: readonly FieldViolation[];
  /** `google.rpc.RetryInfo.retry_delay`, in milliseconds. */
  readonly retryDelayMs?: number;
  readonly cause?: unknown;
}

/** The one error that handlers throw and clients reject with: a code, ids and a sentence. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: Code;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];
  readonly retryDelayMs: number | undefined;

  constructor(code: Code, message: string, details: RpcErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.reason = details.reason ?? "";
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryDelayMs = details.retryDelayMs;
  }
}

/** A request whose `field` is wrong. */
export function invalidArgument(
  field: string,
  message: string,
  reason = "INVALID_FIELD",
  metadata: Readonly<Record<string, string>> = {},
): RpcError {
  return new RpcError(Code.InvalidArgument, `${field}: ${message}`, {
    reason,
    metadata,
    violations: [{ field, description: message }],
  });
}

/** A resource that does not exist. */
export function notFound(resource: string, message = "does not exist"): RpcError {
  return new RpcError(Code.NotFound, `${resource}: ${message}`, { reason: "RESOURCE_NOT_FOUND", metadata: { resource } });
}

/** A resource that exists already. */
export function alreadyExists(resource: string, message = "exists already"): RpcError {
  return new RpcError(Code.AlreadyExists, `${resource}: ${message}`, { reason: "RESOURCE_EXISTS", metadata: { resource } });
}

/** The system is not in the state that the call needs. */
export function failedPrecondition(
  reason: string,
  message: string,
  metadata: Readonly<Record<string, string>> = {},
): RpcError {
  return new RpcError(Code.FailedPrecondition, message, { reason, metadata });
}

/** Too much is asked for at once; the caller may come back after `retryDelayMs`. */
export function resourceExhausted(reason: string, message: string, retryDelayMs = 1000): RpcError {
  return new RpcError(Code.ResourceExhausted, message, { reason, retryDelayMs });
}

/** The call lost a race. */
export function aborted(reason: string, message: string): RpcError {
  return new RpcError(Code.Aborted, message, { reason });
}

/** A part of the system is away; the caller may come back after `retryDelayMs`. */
export function unavailable(reason: string, message: string, retryDelayMs = 1000): RpcError {
  return new RpcError(Code.Unavailable, message, { reason, retryDelayMs });
}

/** A fault of the system itself. */
export function internal(reason: string, message: string, cause?: unknown): RpcError {
  return new RpcError(Code.Internal, message, { reason, cause });
}

/** The caller gave up. */
export function cancelled(message = "the call was cancelled"): RpcError {
  return new RpcError(Code.Canceled, message, { reason: "CANCELLED" });
}

/** The deadline passed. */
export function deadlineExceeded(message = "the deadline passed"): RpcError {
  return new RpcError(Code.DeadlineExceeded, message, { reason: "DEADLINE_EXCEEDED" });
}

/** The method, or what it was asked to do, is not offered. */
export function unimplemented(message: string): RpcError {
  return new RpcError(Code.Unimplemented, message, { reason: "UNIMPLEMENTED" });
}
