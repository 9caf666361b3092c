import { create, fromBinary } from "@bufbuild/protobuf";
import { AnySchema, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { StatusSchema } from "@mistral-sae/contracts/google/rpc/status";
import { type Operation, OperationSchema, OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import type { LedgerRow } from "./ledger-row.ts";
import type { ProgressTracker } from "./progress-tracker.ts";

/** Whether an operation in this state has ended. */
export function isDone(state: OperationState): boolean {
  return state === OperationState.SUCCEEDED || state === OperationState.FAILED || state === OperationState.CANCELLED;
}

/** The operation as callers see it. `tracker` holds newer progress than the row while it runs. */
export function operationMessage(name: string, row: LedgerRow, tracker: ProgressTracker): Operation {
  return create(OperationSchema, {
    name,
    kind: row.kind,
    state: row.state,
    done: isDone(row.state),
    progress: tracker.message(),
    metadata: fromBinary(AnySchema, row.input),
    result: resultOf(row),
    createTime: timestampFromMs(row.createMs),
    updateTime: timestampFromMs(row.updateMs),
    attempts: row.attempts,
  });
}

function resultOf(row: LedgerRow): Operation["result"] {
  if (row.output !== undefined) return { case: "response", value: fromBinary(AnySchema, row.output) };
  if (row.error !== undefined) return { case: "error", value: fromBinary(StatusSchema, row.error) };
  return { case: undefined };
}
