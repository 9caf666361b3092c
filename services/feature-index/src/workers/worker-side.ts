import type { MessagePort } from "node:worker_threads";
import { SqlError } from "@mistral-sae/clickhouse";
import { InputError, type InputErrorDetails } from "@mistral-sae/tensor";

/** A task on its way to a worker. */
export interface TaskMessage {
  readonly id: number;
  readonly task: unknown;
}

/** What came of it. */
export interface DoneMessage {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: unknown;
  /** An error's class does not cross threads: set when ClickHouse was away. */
  readonly away?: boolean;
  /** Set for an InputError. */
  readonly input?: InputErrorDetails & { readonly summary: string };
}

/** A result, and the memory that goes with it instead of being copied. */
export interface TaskResult {
  readonly result: unknown;
  readonly transfer?: readonly ArrayBuffer[];
}

/** Runs the tasks that a WorkerPool sends to this worker, one after another. */
export function serveTasks(port: MessagePort | null, work: (task: never) => TaskResult | Promise<TaskResult>): void {
  if (port === null) throw new Error("this module runs in a worker thread only");
  port.on("message", ({ id, task }: TaskMessage) => {
    void (async () => {
      try {
        const { result, transfer = [] } = await work(task as never);
        port.postMessage({ id, result } satisfies DoneMessage, [...transfer]);
      } catch (error) {
        port.postMessage({ id, error, away: error instanceof SqlError && error.failure === "connection", ...inputOf(error) } satisfies DoneMessage);
      }
    })();
  });
}

function inputOf(error: unknown): Pick<DoneMessage, "input"> {
  if (!(error instanceof InputError)) return {};
  const { summary, file, field, got, wanted } = error;
  const given = Object.entries({ file, field, got, wanted }).filter(([, value]) => value !== undefined);
  return { input: { summary, ...Object.fromEntries(given) } };
}
