import type { MessagePort } from "node:worker_threads";
import { SqlError } from "@mistral-sae/clickhouse";

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
  /** Set when ClickHouse was away: an error's class does not cross threads. */
  readonly away?: boolean;
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
        port.postMessage({ id, error, away: error instanceof SqlError && error.failure === "connection" } satisfies DoneMessage);
      }
    })();
  });
}
