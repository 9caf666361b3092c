import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { OperationState, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SweepSchema, SweepState, type Sweep, type SweepResultSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { TrainingRunState, TrainingRunStateSchema, type TrainingRun } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { operationName } from "@mistral-sae/jobs";
import type { SweepRow } from "./sweep-store.ts";

export function sweepName(id: string): string {
  return `sweeps/${id}`;
}

/** Id of a sweep's run, counted from 1. */
export function sweepRunId(sweep: string, at: number): string {
  return `${sweep}-${at + 1}`;
}

/** A sweep as callers see it, with the table of what its runs have come to; `runs` in the order of the combinations. */
export function sweepMessage(sweep: SweepRow, runs: readonly TrainingRun[], operation: Operation | undefined, harvestPasses: number): Sweep {
  const { asked, values } = sweep;
  return create(SweepSchema, {
    name: sweepName(sweep.id),
    ...(asked.config === undefined ? {} : { config: asked.config }),
    axes: asked.axes,
    state: stateOf(sweep, runs, operation),
    results: runs.map((run, at) => resultOf(run, values[at] ?? {})),
    createTime: timestampFromMs(sweep.createMs),
    updateTime: operation?.updateTime ?? timestampFromMs(sweep.updateMs),
    operation: operationName("training", sweep.id),
    harvestPasses,
  });
}

/** A cancelled sweep is stopped too, until its operation is resumed. */
function stateOf({ stopped }: SweepRow, runs: readonly TrainingRun[], operation: Operation | undefined): SweepState {
  if (stopped || operation?.state === OperationState.CANCELLED) return SweepState.STOPPED;
  if (runs.every(({ state }) => state === TrainingRunState.SUCCEEDED)) return SweepState.SUCCEEDED;
  return operation?.state === OperationState.FAILED ? SweepState.FAILED : SweepState.RUNNING;
}

/** Figures are those of the evaluation, or of the newest batch while there is none. */
function resultOf(run: TrainingRun, values: Readonly<Record<string, string>>): MessageInitShape<typeof SweepResultSchema> {
  const { evaluation, metrics } = run;
  const figures = evaluation ?? metrics;
  const { ceRecovered, klRecovered } = evaluation ?? {};
  return {
    trainingRun: run.name,
    values: { ...values },
    state: TrainingRunStateSchema.value[run.state]?.name ?? "",
    step: run.step,
    fvu: figures?.fvu ?? 0,
    l0: figures?.l0 ?? 0,
    deadFraction: figures?.deadFraction ?? 0,
    ...(ceRecovered === undefined ? {} : { ceRecovered }),
    ...(klRecovered === undefined ? {} : { klRecovered }),
    saeUri: run.saeUri,
    trainSeconds: run.stageSeconds["train"] ?? 0,
  };
}
