import type { Client } from "@mistral-sae/rpc";
import { Code, fromStatus, RpcError, toRpcError } from "@mistral-sae/rpc";
import { type Operation, type OperationService, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";

/** How long a service may be away before a watch gives up, in milliseconds. */
const PATIENCE_MS = 60_000;

/**
 * Runs `attempt` again while its service is away: the supervisor restarts a service that died, and its jobs go on.
 * Every attempt that tells of progress (by calling the function it is given) renews the patience.
 */
export async function whileAway<T>(signal: AbortSignal, attempt: (alive: () => void) => Promise<T>): Promise<T> {
  let giveUpAt = Date.now() + PATIENCE_MS;
  const alive = () => {
    giveUpAt = Date.now() + PATIENCE_MS;
  };
  for (;;) {
    try {
      return await attempt(alive);
    } catch (error) {
      const away = toRpcError(error);
      const passing = away.code === Code.Unavailable || away.code === Code.Canceled || away.code === Code.Aborted;
      if (signal.aborted || !passing || Date.now() > giveUpAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

/**
 * Watches an operation to its end and returns it; rejects with what it failed of. One that an earlier start left
 * failed or cancelled is taken up first.
 */
export async function finished(
  operations: Client<typeof OperationService>,
  operation: Operation | undefined,
  signal: AbortSignal,
  onChange: (operation: Operation) => void,
): Promise<Operation> {
  if (operation === undefined) throw new RpcError(Code.Internal, "the reply names no operation");
  if (operation.state === OperationState.FAILED || operation.state === OperationState.CANCELLED) {
    await whileAway(signal, () => operations.resumeOperation({ name: operation.name }, { signal }));
  }
  const last = await whileAway(signal, async (alive) => {
    let latest = operation;
    for await (const { operation: changed } of operations.watchOperation({ name: operation.name }, { signal })) {
      if (changed === undefined) continue;
      alive();
      latest = changed;
      onChange(changed);
    }
    if (!latest.done) throw new RpcError(Code.Unavailable, `${operation.name}: the watch ended before the work`);
    return latest;
  });
  if (last.result.case === "error") throw fromStatus(last.result.value);
  if (last.state !== OperationState.SUCCEEDED) throw new RpcError(Code.Aborted, `${last.name} was cancelled`);
  return last;
}
