/** Full names of the services. */
export const SERVICES = {
  inference: "mistral_sae.inference.v1.InferenceService",
  sae: "mistral_sae.sae.v1.SaeService",
  training: "mistral_sae.training.v1.TrainingService",
  featureIndex: "mistral_sae.feature_index.v1.FeatureIndexService",
  explanation: "mistral_sae.explanation.v1.ExplanationService",
  steering: "mistral_sae.steering.v1.SteeringService",
  operations: "mistral_sae.operations.v1.OperationService",
} as const;
export type ServiceKey = keyof typeof SERVICES;

/** A call that was refused or failed, as Connect tells it. */
export class ApiError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "ApiError";
    this.code = code;
  }
}

interface WireError {
  readonly code?: string;
  readonly message?: string;
}

const END_OF_STREAM = 2;
const PREFIX_BYTES = 5;

/** Calls a method that answers once. */
export async function call<Response>(service: ServiceKey, method: string, request: unknown, signal?: AbortSignal): Promise<Response> {
  const response = await post(service, method, "application/json", JSON.stringify(request), signal);
  if (!response.ok) throw await errorOf(response);
  return (await response.json()) as Response;
}

/** Calls a method that answers with a stream; the stream ends when the loop over it is left. */
export async function* stream<Response>(service: ServiceKey, method: string, request: unknown, signal?: AbortSignal): AsyncGenerator<Response> {
  const left = new AbortController();
  const either = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal]);
  try {
    const response = await post(service, method, "application/connect+json", envelope(request), either);
    if (!response.ok || response.body === null) throw await errorOf(response);
    for await (const { flags, payload } of frames(response.body)) {
      const message = JSON.parse(new TextDecoder().decode(payload)) as unknown;
      if ((flags & END_OF_STREAM) === 0) {
        yield message as Response;
        continue;
      }
      const { error } = message as { readonly error?: WireError };
      if (error !== undefined) throw new ApiError(error.code ?? "unknown", error.message ?? "the call failed");
      return;
    }
    throw new ApiError("unavailable", "the stream broke off");
  } finally {
    left.abort();
  }
}

function post(service: ServiceKey, method: string, contentType: string, body: BodyInit, signal: AbortSignal | undefined): Promise<Response> {
  const headers = { "content-type": contentType, "connect-protocol-version": "1" };
  return fetch(`/${SERVICES[service]}/${method}`, { method: "POST", headers, body, signal: signal ?? null });
}

async function errorOf(response: Response): Promise<ApiError> {
  const error = (await response.json().catch(() => ({}))) as WireError;
  return new ApiError(error.code ?? String(response.status), error.message ?? response.statusText);
}

/** One message with its prefix: a byte of flags and its length, big-endian. */
function envelope(message: unknown): ArrayBuffer {
  const payload = new TextEncoder().encode(JSON.stringify(message));
  const bytes = new Uint8Array(PREFIX_BYTES + payload.length);
  new DataView(bytes.buffer).setUint32(1, payload.length);
  bytes.set(payload, PREFIX_BYTES);
  return bytes.buffer;
}

async function* frames(body: ReadableStream<Uint8Array>): AsyncGenerator<{ readonly flags: number; readonly payload: Uint8Array }> {
  const reader = body.getReader();
  let held: Uint8Array = new Uint8Array(0);
  for (;;) {
    while (held.length >= PREFIX_BYTES) {
      const length = new DataView(held.buffer, held.byteOffset).getUint32(1);
      if (held.length < PREFIX_BYTES + length) break;
      yield { flags: held[0] ?? 0, payload: held.subarray(PREFIX_BYTES, PREFIX_BYTES + length) };
      held = held.subarray(PREFIX_BYTES + length);
    }
    const { value, done } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(held.length + value.length);
    joined.set(held);
    joined.set(value, held.length);
    held = joined;
  }
}
