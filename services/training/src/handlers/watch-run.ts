import { setTimeout as sleep } from "node:timers/promises";
import { TrainingRunState, type TrainingMetrics, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName, type JobEngine } from "@mistral-sae/jobs";
import { runName } from "../runs/run-message.ts";
import type { RunStore } from "../runs/run-store.ts";
import type { Runs } from "../runs/runs.ts";

/** How often a run that waits for its turn is looked at. */
const TURN_MS = 300;
const METRICS_A_MESSAGE = 1000;
/** States that nothing leaves by itself. */
const RESTING: ReadonlySet<TrainingRunState> = new Set([TrainingRunState.SUCCEEDED, TrainingRunState.FAILED, TrainingRunState.STOPPED, TrainingRunState.PAUSED]);

interface WatchMessage {
  readonly trainingRun: TrainingRun;
  readonly metrics: TrainingMetrics[];
}

/** The run now and after every change, each time with the metrics that are new, until it ends or rests in PAUSED. */
export async function* watchRun(runs: Runs, store: RunStore, engine: JobEngine, id: string, afterStep: bigint, signal: AbortSignal): AsyncIterable<WatchMessage> {
  let seen = afterStep;
  function* news(): Iterable<WatchMessage> {
    let metrics: TrainingMetrics[];
    do {
      metrics = store.metricsAfter(id, seen, METRICS_A_MESSAGE);
      seen = metrics.at(-1)?.step ?? seen;
      yield { trainingRun: runs.message(runs.row(runName(id))), metrics };
    } while (metrics.length === METRICS_A_MESSAGE);
  }
  const resting = (): boolean => RESTING.has(runs.message(runs.row(runName(id))).state);
  if (resting()) {
    yield* news();
    return;
  }
  if (runs.operation(id) === undefined) yield* news();
  // Its sweep has not come to it yet.
  while (runs.operation(id) === undefined && !resting()) await sleep(TURN_MS, undefined, { signal });
  if (resting()) {
    yield* news();
    return;
  }
  for await (const _ of engine.watch(operationName("training", id), { signal })) {
    const last = resting();
    yield* news();
    if (last) return;
  }
}
