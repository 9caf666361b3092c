import { setTimeout as sleep } from "node:timers/promises";

/** Milliseconds that a Retry-After header (seconds or an HTTP date) asks for; undefined where it says nothing. */
export function retryAfterMs(header: string | null | undefined, now: number = Date.now()): number | undefined {
  if (header === null || header === undefined || header.trim() === "") return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Delay before attempt `attempt` + 1: doubled each time from half a second, at most 20 s. */
export function backoffMs(attempt: number): number {
  return Math.min(500 * 2 ** (attempt - 1), 20_000);
}

/**
 * Lets a number of calls to one endpoint run at a time, and holds all of them back while the endpoint has asked for
 * a pause.
 */
export class EndpointGate {
  readonly #slots: number;
  #busy = 0;
  #openAt = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(slots: number) {
    this.#slots = slots;
  }

  /** No call starts within the next `ms`. */
  pause(ms: number): void {
    this.#openAt = Math.max(this.#openAt, Date.now() + ms);
  }

  /** Waits for a slot and for the end of a pause, then runs `call`. */
  async run<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    while (this.#busy >= this.#slots) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      signal.addEventListener("abort", () => resolve(), { once: true });
      await promise;
      signal.throwIfAborted();
    }
    this.#busy += 1;
    try {
      for (let left = this.#openAt - Date.now(); left > 0; left = this.#openAt - Date.now()) {
        await sleep(left, undefined, { signal });
      }
      return await call();
    } finally {
      this.#busy -= 1;
      this.#waiting.shift()?.();
    }
  }
}
