import { setTimeout as sleep } from "node:timers/promises";
import { InputError } from "@mistral-sae/tensor";
import { HubError } from "./hub-error.ts";
import type { HubModel } from "./repository.ts";
import type { HubSettings } from "./settings.ts";

/** How patiently the hub is asked. */
export interface Patience {
  /** Attempts in a row that come no further than those before, after which a request is given up. */
  readonly attempts: number;
  /** Milliseconds without a byte after which an attempt is given up. */
  readonly stallMs: number;
  /** Milliseconds before the second attempt; doubles with each further one. */
  readonly pauseMs: number;
}

export const usualPatience: Patience = { attempts: 6, stallMs: 30_000, pauseMs: 500 };
const longestPauseMs = 20_000;

/** An attempt that failed in a way that the next one may not. */
export class Transient extends Error {
  /** Milliseconds that the server asked to wait. */
  readonly waitMs: number | undefined;

  constructor(message: string, waitMs?: number, options?: ErrorOptions) {
    super(message, options);
    this.waitMs = waitMs;
  }
}

/**
 * Runs `attempt` until it succeeds; it says through `alive` that bytes came, and how many there are. Attempts that come
 * further than all before are not counted. Throws what `attempt` throws, unless that is {@link Transient}; then HubError once patience ends.
 */
export async function retrying<T>(what: string, patience: Patience, signal: AbortSignal | undefined, attempt: (signal: AbortSignal, alive: (bytes: number) => void) => Promise<T>): Promise<T> {
  let furthest = 0;
  for (let failures = 0; ; ) {
    signal?.throwIfAborted();
    const stalled = new AbortController();
    let timer = setTimeout(() => undefined, 0);
    let moved = false;
    const alive = (bytes: number): void => {
      moved ||= bytes > furthest;
      furthest = Math.max(furthest, bytes);
      clearTimeout(timer);
      timer = setTimeout(() => stalled.abort(), patience.stallMs);
    };
    alive(0);
    try {
      return await attempt(signal === undefined ? stalled.signal : AbortSignal.any([signal, stalled.signal]), alive);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof InputError || error instanceof HubError) throw error;
      failures = moved ? 1 : failures + 1;
      const reason = stalled.signal.aborted ? `no byte came for ${patience.stallMs} ms` : reasonOf(error);
      if (failures >= patience.attempts) throw new HubError(`${what}: ${reason}; gave up after ${failures} attempts without progress`, { cause: error });
      const asked = error instanceof Transient ? error.waitMs : undefined;
      const pause = asked ?? patience.pauseMs * 2 ** (failures - 1) * (0.5 + Math.random());
      await sleep(Math.min(pause, longestPauseMs), undefined, signal === undefined ? {} : { signal });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** fetch hides what went wrong in `cause`. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && !(error instanceof Transient) ? `${error.message}: ${error.cause.message}` : error.message;
}

/**
 * One GET. Throws InputError when the hub says that there is no such model or that it may not be read, Transient for
 * answers that may change, HubError for others. The token goes to the endpoint only: fetch drops it on the way elsewhere.
 */
export async function get(url: string, { endpoint, token }: HubSettings, model: HubModel, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
  const response = await fetch(url, { headers: { "user-agent": "mistral-sae", ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) }, signal });
  if (response.ok || response.status === 416) return response;
  await response.body?.cancel();
  const got = `${response.status} ${response.headers.get("x-error-message") ?? response.statusText}`.trim();
  const { status } = response;
  if (status === 401 || status === 403) {
    const wanted = token === undefined ? "a token in HF_TOKEN that may read it, if the model exists" : "a token in HF_TOKEN that may read it; accept the model's terms on its page where it has some";
    throw new InputError(`${endpoint} does not let ${model.id} be read`, { field: "id", got, wanted });
  }
  if (status === 404) throw new InputError(`${endpoint} has no model ${model.id} at revision ${model.revision}`, { field: "id", got, wanted: "owner/name of a model, and a revision that it has" });
  if (status === 408 || status === 429 || status >= 500) throw new Transient(`${url} answered ${got}`, retryAfter(response));
  throw new HubError(`${url} answered ${got}`);
}

function retryAfter(response: Response): number | undefined {
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : undefined;
}
