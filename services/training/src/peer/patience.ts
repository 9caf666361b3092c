import { setTimeout as sleep } from "node:timers/promises";
import { Code, toRpcError, type RpcError } from "@mistral-sae/rpc";

/** How calls to a service that is away are repeated. */
export interface Patience {
  /** Gives up when no call has succeeded for this long, milliseconds. */
  readonly giveUpAfterMs: number;
  readonly signal: AbortSignal;
  /** Told once each time that the service goes away. */
  readonly onAway: (error: RpcError) => void;
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 2000;

/**
 * Whether the same read may succeed later. A connection that breaks in the middle of a stream surfaces under
 * several codes; unlike the service's own refusals it bears no reason.
 */
export function isPassing(error: RpcError): boolean {
  if (error.code === Code.Unavailable) return true;
  if (error.code === Code.ResourceExhausted) return error.retryDelayMs !== undefined;
  return error.reason === "" && (error.code === Code.Aborted || error.code === Code.Internal || error.code === Code.Unknown || error.code === Code.Canceled);
}

/** Calls `read`, which must be safe to repeat, until it succeeds, fails for good or patience ends. */
export async function patiently<T>(patience: Patience, read: () => Promise<T>): Promise<T> {
  let awaySince: number | undefined;
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
    patience.signal.throwIfAborted();
    try {
      return await read();
    } catch (cause) {
      patience.signal.throwIfAborted();
      const error = toRpcError(cause);
      const now = performance.now();
      if (!isPassing(error) || now - (awaySince ?? now) > patience.giveUpAfterMs) throw error;
      if (awaySince === undefined) patience.onAway(error);
      awaySince ??= now;
      await sleep(Math.max(delay, error.retryDelayMs ?? 0), undefined, { signal: patience.signal });
    }
  }
}
