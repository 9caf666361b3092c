import { setTimeout as sleep } from "node:timers/promises";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { OperationStateSchema, type Operation, type OperationProgress, type OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { Code, fromStatus, RpcError } from "@mistral-sae/rpc";
import type { Clients } from "./clients.ts";
import { enumWord } from "./enums.ts";
import type { Output, Progress } from "./output.ts";

/** How an operation is followed. */
export interface FollowOptions {
  readonly signal: AbortSignal;
  /** Called at every change. */
  readonly onChange?: (operation: Operation) => void;
  /** A service that is away is waited for this long: it may be starting again. */
  readonly patienceMs?: number;
}

const followDefaults = { patienceMs: 60_000 } as const;
const RETRY_MS = 500;

/**
 * Follows an operation until it is done, also across restarts of its service, and returns it whatever its end.
 * Throws RpcError when the service stays away longer than `patienceMs`.
 */
export async function followOperation(clients: Clients, first: Operation, options: FollowOptions): Promise<Operation> {
  const { signal, onChange, patienceMs } = { ...followDefaults, ...options };
  let operation = first;
  let awaySince: number | undefined;
  onChange?.(operation);
  while (!operation.done) {
    try {
      for await (const update of clients.operations.watchOperation({ name: operation.name }, { signal })) {
        awaySince = undefined;
        if (update.operation === undefined) continue;
        operation = update.operation;
        onChange?.(operation);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!isAway(error)) throw error;
      awaySince ??= performance.now();
      if (performance.now() - awaySince > patienceMs) throw error;
    }
    if (!operation.done) await sleep(RETRY_MS, undefined, { signal });
  }
  return operation;
}

/** Whether a call failed because its service is away for a while. */
export function isAway(error: unknown): boolean {
  return error instanceof RpcError && (error.code === Code.Unavailable || error.code === Code.Aborted);
}

/** Follows an operation with a progress bar; throws what it failed with. */
export async function waitFor(
  clients: Clients,
  operation: Operation | undefined,
  label: string,
  context: { readonly output: Output; readonly signal: AbortSignal },
): Promise<Operation> {
  if (operation === undefined) throw new RpcError(Code.Internal, `${label}: the service answered without an operation`);
  const stages = stageBars(context.output, label);
  const warned = new Set<string>();
  const leave = (): void => {
    stages.finish("left");
    context.output.note(`the job goes on: \`mistral-sae jobs watch ${operation.name}\`, or \`jobs cancel\` to stop it`);
  };
  context.signal.addEventListener("abort", leave, { once: true });
  try {
    const ended = await followOperation(clients, operation, {
      signal: context.signal,
      onChange: ({ progress }) => {
        if (progress === undefined) return;
        stages.update(progress);
        for (const warning of progress.warnings) {
          if (!warned.has(warning)) context.output.warn(warning);
          warned.add(warning);
        }
      },
    });
    stages.finish(stateWord(ended.state));
    if (ended.result.case === "error") throw fromStatus(ended.result.value);
    return ended;
  } finally {
    context.signal.removeEventListener("abort", leave);
  }
}

/** One progress bar a stage. */
function stageBars(output: Output, label: string): { update(progress: OperationProgress): void; finish(note: string): void } {
  let stage: string | undefined;
  let bar: Progress | undefined;
  return {
    update({ stage: now, doneUnits, totalUnits, unit, rate }) {
      if (now === "" && totalUnits === 0n) return;
      if (bar === undefined || now !== stage) {
        bar?.finish();
        stage = now;
        bar = output.progress(now === "" || now === label ? label : `${label}: ${now}`);
      }
      bar.update({ done: Number(doneUnits), total: Number(totalUnits), unit, rate: rate > 0 ? rate : undefined });
    },
    finish: (note) => (bar ?? output.progress(label)).finish(note),
  };
}

/** What an operation made; throws when it is of another type. */
export function responseOf<Desc extends DescMessage>(operation: Operation, schema: Desc): MessageShape<Desc> {
  if (operation.result.case === "error") throw fromStatus(operation.result.value);
  const value = operation.result.case === "response" ? anyUnpack(operation.result.value, schema) : undefined;
  if (value !== undefined) return value;
  const got = operation.result.case === "response" ? operation.result.value.typeUrl : "nothing";
  throw new RpcError(Code.Internal, `${operation.name}: got ${got}, wanted ${schema.typeName}`);
}

/** RUNNING as "running". */
export function stateWord(state: OperationState): string {
  return enumWord(OperationStateSchema, state);
}
