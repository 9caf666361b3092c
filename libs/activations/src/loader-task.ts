import type { MessagePort } from "node:worker_threads";
import type { FloatDType } from "@mistral-sae/tensor";
import type { RingMemory } from "./batch-ring.ts";
import type { RowFile } from "./row-file.ts";
import type { OrderPlan } from "./row-order.ts";

/** What the loader thread is told. */
export interface LoaderTask {
  readonly files: readonly RowFile[];
  readonly plan: OrderPlan;
  readonly width: number;
  readonly dtype: FloatDType;
  readonly batchRows: number;
  /** Rows of the stream that are passed over. */
  readonly startRow: number;
  readonly ring: RingMemory;
  /** Where it says why it failed, for a consumer whose thread is blocked. */
  readonly failures: MessagePort;
}
