import { Code, RpcError, toRpcError } from "@mistral-sae/rpc";

/** What an error says beside its message. */
export interface ApiErrorDetails {
  readonly status?: number;
  readonly type?: string;
  /** Field of the request. */
  readonly param?: string;
  readonly code?: string;
  readonly retryAfterMs?: number;
}

/** An error as clients of the OpenAI API know them. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
  readonly retryAfterMs: number | undefined;

  constructor(message: string, details: ApiErrorDetails = {}) {
    super(message);
    this.status = details.status ?? 400;
    this.type = details.type ?? "invalid_request_error";
    this.param = details.param ?? null;
    this.code = details.code ?? null;
    this.retryAfterMs = details.retryAfterMs;
  }

  /** The body of the answer. */
  get body() {
    const { message, type, param, code } = this;
    return { error: { message, type, param, code } };
  }
}

/** A field whose value is wrong. */
export function badField(param: string, message: string, code = "invalid_value"): ApiError {
  return new ApiError(`${param}: ${message}`, { param, code });
}

/** A field, or a value of one, that is known and not offered. Nothing that is asked for is left out in silence. */
export function unsupported(param: string, message: string): ApiError {
  return new ApiError(`${param}: ${message}`, { param, code: "unsupported_parameter" });
}

/** Status and type of each code of the services. */
const STATUS: Readonly<Partial<Record<Code, readonly [number, string]>>> = {
  [Code.InvalidArgument]: [400, "invalid_request_error"],
  [Code.FailedPrecondition]: [400, "invalid_request_error"],
  [Code.OutOfRange]: [400, "invalid_request_error"],
  [Code.Unauthenticated]: [401, "authentication_error"],
  [Code.PermissionDenied]: [403, "permission_error"],
  [Code.NotFound]: [404, "invalid_request_error"],
  [Code.ResourceExhausted]: [429, "rate_limit_error"],
  [Code.Unavailable]: [503, "service_unavailable_error"],
  [Code.DeadlineExceeded]: [504, "timeout_error"],
  [Code.Unimplemented]: [501, "server_error"],
};

/** Anything thrown while a request was answered, as the client is to see it. `chat` says whose names the fields have. */
export function toApiError(error: unknown, chat: boolean): ApiError {
  if (error instanceof ApiError) return error;
  const rpc = toRpcError(error);
  const [status, type] = STATUS[rpc.code] ?? [500, "server_error"];
  const [violation] = rpc.violations;
  const retry = rpc.retryDelayMs === undefined ? {} : { retryAfterMs: rpc.retryDelayMs };
  if (violation === undefined) {
    const modelAway = rpc.code === Code.NotFound && /^models\/[^/]*$/.test(rpc.metadata["resource"] ?? "");
    if (modelAway || rpc.reason === "MODEL_NOT_LOADED") return new ApiError(rpc.message, { status: 404, param: "model", code: "model_not_found" });
    return new ApiError(rpc.message, { status, type, code: codeOf(rpc), ...retry });
  }
  if (violation.field === "model") return new ApiError(`model: ${violation.description}`, { status: 404, param: "model", code: "model_not_found" });
  const param = paramOf(violation.field, chat);
  return new ApiError(`${param}: ${violation.description}`, { status, type, param, code: codeOf(rpc), ...retry });
}

function codeOf({ reason }: RpcError): string {
  return reason === "TOKEN_LIMIT" ? "context_length_exceeded" : reason.toLowerCase();
}

/** The name of a field of Generate or Steer in this API. */
function paramOf(field: string, chat: boolean): string {
  return field
    .replace(/^sampling\./, "")
    .replace(/^n_logprobs$/, chat ? "top_logprobs" : "logprobs")
    .replace(/^prompt\.chat\b/, "messages")
    .replace(/^(?:prompt|chat)\b(?:\.(?:text|tokens))?/, chat ? "messages" : "prompt")
    .replace(/^messages\.messages/, "messages")
    .replace(/^variants\[0\]\.(?:interventions|queries)/, "steering")
    .replace(/^trace\b/, "features");
}
