import { setTimeout as sleep } from "node:timers/promises";
import { Code, type RpcError, toRpcError } from "@mistral-sae/rpc";

/** How calls to a part of the system that is away are repeated. */
export interface RetryPolicy {
  /** Gives up this long after the first failure in a row; default 2 minutes. */
  readonly giveUpAfterMs: number;
  /** First delay, doubled at each further failure; default 250 ms. */
  readonly firstDelayMs: number;
  /** Longest delay; default 5 s. */
  readonly maxDelayMs: number;
}

export const retryDefaults: RetryPolicy = { giveUpAfterMs: 120_000, firstDelayMs: 250, maxDelayMs: 5000 };

/** Whether the same call may succeed later without anything else being changed. */
export function isTransient(error: RpcError): boolean {
  if (error.code === Code.Unavailable) return true;
  return error.code === Code.ResourceExhausted && error.retryDelayMs !== undefined;
}

/**
 * Runs `work` until it succeeds, fails for good, or has failed transiently for too long. `onRetry` is told of each
 * failure that is going to be repeated.
 */
export async function withRetry<T>(
  policy: RetryPolicy,
  signal: AbortSignal,
  work: () => Promise<T>,
  onRetry: (error: RpcError) => void,
): Promise<T> {
  let firstFailure: number | undefined;
  for (let delay = policy.firstDelayMs; ; delay = Math.min(delay * 2, policy.maxDelayMs)) {
    try {
      signal.throwIfAborted();
      return await work();
    } catch (cause) {
      signal.throwIfAborted();
      const error = toRpcError(cause);
      firstFailure ??= Date.now();
      if (!isTransient(error) || Date.now() - firstFailure >= policy.giveUpAfterMs) throw cause;
      onRetry(error);
      await sleep(Math.max(delay, error.retryDelayMs ?? 0), undefined, { signal });
    }
  }
}
