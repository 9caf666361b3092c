import { setTimeout as sleep } from "node:timers/promises";
import { failedPrecondition, resourceExhausted, type RpcError, unavailable } from "@mistral-sae/rpc";
import type { EndpointEmbeddings } from "./embeddings-config.ts";
import type { Embedded, VectorSource } from "./vector-source.ts";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 20_000;
/** A query does not wait as long as a job may. */
const LONGEST_QUERY_DELAY_MS = 2_000;
const LONGEST_MESSAGE = 300;

/** A call that failed, and whether another attempt may succeed. */
class CallFailed extends Error {
  readonly status: number;
  /** Undefined where another attempt is useless. */
  readonly delayMs: number | undefined;

  constructor(message: string, status: number, delayMs: number | undefined) {
    super(message);
    this.status = status;
    this.delayMs = delayMs;
  }
}

/** Vectors of an endpoint that speaks OpenAI's embeddings: https://platform.openai.com/docs/api-reference/embeddings. */
export class EndpointSource implements VectorSource {
  readonly id: string;
  readonly #config: EndpointEmbeddings;
  #openAt = 0;

  constructor(config: EndpointEmbeddings) {
    this.#config = config;
    const { host, pathname } = new URL(config.baseUrl);
    this.id = `endpoint/${host}${pathname}/${config.model}${config.dimensions === 0 ? "" : `/${config.dimensions}`}`;
  }

  async embed(texts: readonly string[], as: "query" | "text", signal: AbortSignal): Promise<Embedded> {
    const { batchSize } = this.#config;
    const vectors: Float32Array[] = [];
    for (let start = 0; start < texts.length; start += batchSize) vectors.push(...(await this.#batch(texts.slice(start, start + batchSize), as, signal)));
    return { vectors, nInPieces: 0 };
  }

  async close(): Promise<void> {
    // Holds no connection.
  }

  async #batch(texts: readonly string[], as: "query" | "text", signal: AbortSignal): Promise<Float32Array[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        // All calls wait while the endpoint has asked for a pause.
        for (let left = this.#openAt - Date.now(); left > 0; left = this.#openAt - Date.now()) {
          if (as === "query" && left > LONGEST_QUERY_DELAY_MS) throw new CallFailed("asked for a pause", 429, left);
          await sleep(left, undefined, { signal });
        }
        return await this.#call(texts, attempt, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof CallFailed)) throw error;
        const { delayMs } = error;
        const waits = delayMs !== undefined && attempt < this.#config.maxAttempts && (as === "text" || delayMs <= LONGEST_QUERY_DELAY_MS);
        if (!waits) throw this.#rpcError(error);
        this.#openAt = Math.max(this.#openAt, Date.now() + delayMs);
      }
    }
  }

  async #call(texts: readonly string[], attempt: number, signal: AbortSignal): Promise<Float32Array[]> {
    const { baseUrl, model, apiKey, dimensions, timeoutMs } = this.#config;
    const backoff = Math.min(FIRST_DELAY_MS * 2 ** (attempt - 1), LONGEST_DELAY_MS);
    let response: Response;
    let body: string;
    try {
      response = await fetch(`${baseUrl}/embeddings`, {
        method: "POST",
        headers: { "content-type": "application/json", ...(apiKey === "" ? {} : { authorization: `Bearer ${apiKey}` }) },
        body: JSON.stringify({ model, input: texts, encoding_format: "float", ...(dimensions === 0 ? {} : { dimensions }) }),
        // A redirect could lead the key, and the texts, to another host.
        redirect: "error",
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      });
      body = await response.text();
    } catch (error) {
      const timedOut = error instanceof Error && error.name === "TimeoutError";
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new CallFailed(timedOut ? `gave no answer within ${timeoutMs} ms` : `cannot be reached: ${cause}`, 0, backoff);
    }
    if (!response.ok) {
      const { status } = response;
      const again = status === 408 || status === 409 || status === 429 || status >= 500;
      throw new CallFailed(`answered ${status}: ${body}`, status, again ? (retryAfterMs(response.headers.get("retry-after")) ?? backoff) : undefined);
    }
    return vectorsOf(body, texts.length, dimensions);
  }

  #rpcError({ message, status, delayMs }: CallFailed): RpcError {
    const { baseUrl, apiKey } = this.#config;
    // Some endpoints repeat the key that they refuse.
    const said = apiKey === "" ? message : message.replaceAll(apiKey, "(key)");
    const text = status === 401 || status === 403 ? `answered ${status}: see MISTRAL_SAE_EMBEDDINGS_API_KEY` : said.slice(0, LONGEST_MESSAGE);
    const whole = `the embeddings endpoint at ${baseUrl} ${text}`;
    if (status === 429) return resourceExhausted("EMBEDDINGS_RATE_LIMIT", whole, delayMs);
    if (delayMs !== undefined) return unavailable("EMBEDDINGS_UNAVAILABLE", whole, delayMs);
    return failedPrecondition(status === 401 || status === 403 ? "EMBEDDINGS_UNAUTHENTICATED" : "EMBEDDINGS_REFUSED", whole);
  }
}

/** The vectors of an answer, in the order of the texts. */
function vectorsOf(body: string, n: number, dimensions: number): Float32Array[] {
  const bad = (what: string): CallFailed => new CallFailed(`gave no embeddings: ${what}`, 200, undefined);
  let data: unknown;
  try {
    ({ data } = JSON.parse(body) as { data?: unknown });
  } catch {
    throw bad("its answer is no JSON object");
  }
  if (!Array.isArray(data) || data.length !== n) throw bad(`got ${Array.isArray(data) ? data.length : "no"} vectors, wanted ${n}`);
  const vectors: Float32Array[] = [];
  for (const [i, entry] of (data as readonly (Readonly<Record<string, unknown>> | null)[]).entries()) {
    const at = typeof entry?.["index"] === "number" ? entry["index"] : i;
    const values: unknown = entry?.["embedding"];
    if (!Array.isArray(values) || values.length === 0 || !values.every((value) => typeof value === "number" && Number.isFinite(value))) throw bad(`entry ${i} has no list of numbers`);
    if (at < 0 || at >= n || vectors[at] !== undefined) throw bad(`entry ${i} has the index ${at}`);
    vectors[at] = Float32Array.from(values as readonly number[]);
  }
  const wanted = dimensions === 0 ? (vectors[0] as Float32Array).length : dimensions;
  const other = vectors.find(({ length }) => length !== wanted);
  if (other !== undefined) throw bad(`got a vector of ${other.length} values, wanted ${wanted}`);
  return vectors;
}

/** Milliseconds that a Retry-After header (seconds or an HTTP date) asks for. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null || header.trim() === "") return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}
