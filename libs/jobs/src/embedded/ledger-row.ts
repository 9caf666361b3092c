import type { SQLOutputValue } from "node:sqlite";
import type { OperationState } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";

/** What stops a running operation: nothing, a cancel or a pause. */
export const StopIntent = { NONE: 0, CANCEL: 1, PAUSE: 2 } as const;
export type StopIntent = (typeof StopIntent)[keyof typeof StopIntent];

/** An operation as the ledger holds it. */
export interface LedgerRow {
  readonly seq: number;
  readonly id: string;
  readonly kind: string;
  readonly state: OperationState;
  /** Asked for, and not done yet when a process died. */
  readonly stop: StopIntent;
  /** google.protobuf.Any. */
  readonly input: Uint8Array;
  /** google.protobuf.Any. */
  readonly output: Uint8Array | undefined;
  /** google.rpc.Status. */
  readonly error: Uint8Array | undefined;
  /** JSON of SavedProgress. */
  readonly progress: string;
  readonly planned: boolean;
  readonly attempts: number;
  readonly createMs: number;
  readonly updateMs: number;
}

/** A shard whose result is missing. */
export interface PendingShard {
  readonly shard: number;
  readonly input: unknown;
}

type Columns = Record<string, SQLOutputValue>;

function bytes(value: SQLOutputValue | undefined): Uint8Array | undefined {
  return value instanceof Uint8Array ? value : undefined;
}

/** Reads a row of the table `operations`. */
export function toLedgerRow(columns: Columns): LedgerRow {
  return {
    seq: Number(columns["seq"]),
    id: String(columns["id"]),
    kind: String(columns["kind"]),
    state: Number(columns["state"]) as OperationState,
    stop: Number(columns["stop"]) as StopIntent,
    input: bytes(columns["input"]) ?? new Uint8Array(),
    output: bytes(columns["output"]),
    error: bytes(columns["error"]),
    progress: String(columns["progress"]),
    planned: Number(columns["planned"]) === 1,
    attempts: Number(columns["attempts"]),
    createMs: Number(columns["create_ms"]),
    updateMs: Number(columns["update_ms"]),
  };
}
