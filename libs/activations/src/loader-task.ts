import type { MessagePort } from "node:worker_threads";
import type { RingMemory } from "./batch-ring.ts";
import type { OrderPlan } from "./row-order.ts";
import type { RowSource } from "./row-source.ts";

/** What the loader thread is told. */
export interface LoaderTask {
  readonly source: RowSource;
  readonly order: Pick<OrderPlan, "bufferRows" | "seed" | "shuffle">;
  readonly batchRows: number;
  /** Rows of the stream that are passed over. */
  readonly startRow: number;
  readonly ring: RingMemory;
  /** Where it says why it failed, for a consumer whose thread is blocked. */
  readonly failures: MessagePort;
}
