import { parentPort } from "node:worker_threads";
import { serveTasks } from "../workers/worker-side.ts";
import { nearestRows } from "./neighbours.ts";

/** Rows whose neighbours are wanted; the result is Neighbours[]. */
export interface NeighbourTask {
  /** Unit rows in shared memory. */
  readonly units: Float32Array;
  readonly width: number;
  readonly start: number;
  readonly end: number;
  readonly topK: number;
}

serveTasks(parentPort, ({ units, width, start, end, topK }: NeighbourTask) => ({ result: nearestRows(units, width, start, end, topK) }));
