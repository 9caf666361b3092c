import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { OperationState, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { TrainingRunSchema, TrainingRunState, type TrainingMetrics, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName } from "@mistral-sae/jobs";
import { outputHook } from "./model-facts.ts";
import type { RunFacts, RunRow } from "./run-store.ts";

/** Stages of a run, as its operation reports them. */
export const Stage = { harvest: "harvest", train: "train", evaluate: "evaluate" } as const;

export function runName(id: string): string {
  return `trainingRuns/${id}`;
}

/** Steps of a run's configuration. */
export function totalSteps(run: Pick<RunFacts, "config">): number {
  return Math.floor(Number(run.config.trainingTokens) / run.config.trainBatchSizeTokens);
}

/** A run as callers see it: the catalogue's row, with the state of its operation. */
export function runMessage(run: RunRow, operation: Operation | undefined, metrics: TrainingMetrics | undefined): TrainingRun {
  const progress = operation?.progress;
  return create(TrainingRunSchema, {
    name: runName(run.id),
    config: run.config,
    state: stateOf(run, operation),
    stateDetail: operation?.result.case === "error" ? operation.result.value.message : "",
    step: stepOf(run, operation, metrics),
    totalSteps: BigInt(totalSteps(run)),
    tokensHarvested: BigInt(run.tokensHarvested),
    tokensToHarvest: BigInt(run.tokensToHarvest),
    saeUri: run.saeUri,
    weightsSha256: run.weightsSha256,
    stageSeconds: progress?.stageSeconds ?? {},
    warnings: [...warningsOf(run), ...(progress?.warnings ?? [])],
    sweep: run.sweep === "" ? "" : `sweeps/${run.sweep}`,
    attempts: operation?.attempts ?? 0,
    operation: operationName("training", run.id),
    createTime: timestampFromMs(run.createMs),
    updateTime: operation?.updateTime ?? timestampFromMs(run.updateMs),
    ...(metrics === undefined ? {} : { metrics }),
    ...(run.evaluation === undefined ? {} : { evaluation: run.evaluation }),
  });
}

/** What is known of a run before any work; its evaluation then says the same. */
function warningsOf({ model, evaluation }: RunRow): string[] {
  const { hookName, readOnly } = outputHook(model);
  return readOnly === undefined || evaluation !== undefined ? [] : [`${hookName} cannot be written (${readOnly}): the evaluation measures the reconstruction, without cross-entropy and KL`];
}

function stateOf(run: RunRow, operation: Operation | undefined): TrainingRunState {
  if (run.stopped) return TrainingRunState.STOPPED;
  switch (operation?.state) {
    case OperationState.SUCCEEDED:
      return TrainingRunState.SUCCEEDED;
    case OperationState.FAILED:
      return TrainingRunState.FAILED;
    case OperationState.PAUSED:
    case OperationState.CANCELLED:
      return TrainingRunState.PAUSED;
    case OperationState.RUNNING:
      return runningState(operation.progress?.stage ?? "");
    case OperationState.QUEUED:
      return TrainingRunState.QUEUED;
    default:
      if (run.sweep !== "" && run.weightsSha256 === "") return TrainingRunState.QUEUED;
      // Only checked, not started.
      if (run.seq === 0) return TrainingRunState.UNSPECIFIED;
      // Somebody deleted the operation of a run that had ended.
      return run.evaluation === undefined ? TrainingRunState.STOPPED : TrainingRunState.SUCCEEDED;
  }
}

function runningState(stage: string): TrainingRunState {
  if (stage === Stage.train) return TrainingRunState.RUNNING;
  if (stage === Stage.evaluate) return TrainingRunState.EVALUATING;
  return TrainingRunState.HARVESTING;
}

/** The operation's progress is fresher than the metrics, which are kept every few steps. */
function stepOf(run: RunRow, operation: Operation | undefined, metrics: TrainingMetrics | undefined): bigint {
  if (run.weightsSha256 !== "") return BigInt(totalSteps(run));
  const progress = operation?.progress;
  return progress?.stage === Stage.train ? progress.doneUnits : (metrics?.step ?? 0n);
}
