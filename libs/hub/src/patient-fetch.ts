import { setTimeout as sleep } from "node:timers/promises";
import type { Patience } from "./request.ts";

const longestPauseMs = 20_000;

/**
 * A fetch that asks again when the connection fails or the server answers 408, 429 or 5xx, at most `attempts` times. Only requests whose
 * body can be sent again are repeated: texts, bytes and blobs, not streams. `signal` cancels every request.
 */
export function patientFetch({ attempts, pauseMs }: Patience, signal?: AbortSignal): typeof fetch {
  return async (input, init) => {
    const signals = [signal, init?.signal].filter((one) => one !== undefined && one !== null);
    const request = { ...init, ...(signals.length === 0 ? {} : { signal: AbortSignal.any(signals) }) };
    const repeatable = !(init?.body instanceof ReadableStream);
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= attempts || !repeatable;
      let wait = pauseMs * 2 ** (attempt - 1) * (0.5 + Math.random());
      try {
        const response = await fetch(input, request);
        if (last || !(response.status === 408 || response.status === 429 || response.status >= 500)) return response;
        const asked = Number(response.headers.get("retry-after") ?? Number.NaN);
        if (Number.isFinite(asked) && asked >= 0) wait = asked * 1000;
        await response.body?.cancel();
      } catch (error) {
        request.signal?.throwIfAborted();
        if (last) throw error;
      }
      await sleep(Math.min(wait, longestPauseMs), undefined, signals.length === 0 ? {} : { signal: AbortSignal.any(signals) });
    }
  };
}
