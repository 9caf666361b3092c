import type { SparseRows, WireSparseCode } from "@mistral-sae/tensor";
import type { Edit, EditProof } from "../edits/edit.ts";
import type {
  DecodeRow,
  EngineInfo,
  EngineUsage,
  FeatureLogits,
  LogitsResult,
  Neighbour,
  PrefillResult,
  PrefillRow,
  SaeInfo,
  SaeSide,
  SlotId,
  StepResult,
  Tap,
  Trace,
} from "../engine.ts";
import type { RowReading } from "../runtime/read-rows.ts";
import type { ExecutionProvider } from "../graph/model-source.ts";
import type { LoadedSae } from "../sae/loaded-sae.ts";
import type { NearMisses } from "../sae/near-misses.ts";
import type { NeighbourRows } from "../sae/neighbours.ts";

/** Sequences as they cross to the worker: one array of tokens, cut at `offsets`. */
export interface PackedSequences {
  readonly tokens: Uint32Array;
  /** [sequences + 1] */
  readonly offsets: Uint32Array;
  /** One entry a sequence, or nothing when no sequence has edits. */
  readonly edits?: readonly (readonly Edit[] | undefined)[];
}

/** What to report of a step beside its tokens. */
export interface StepReport {
  readonly taps: readonly Tap[];
  readonly traces: readonly Trace[];
  readonly withLogits: boolean;
  readonly skipEnded: boolean;
}

/** A row of prefill whose reuse names slots or rows of the same call. */
export type PrefillInput = Omit<PrefillRow, "edits"> & { readonly edits?: readonly Edit[] | undefined };

/** Rows of a step as they cross to the worker: three numbers each instead of an object. */
export interface PackedDecodeRows {
  readonly slots: Float64Array;
  /** The token to feed; {@link absent} for the one chosen last. */
  readonly tokens: Float64Array;
  /** The slot that `kl` compares with, or {@link absent}. */
  readonly klFrom: Float64Array;
}

const absent = -1;

export function packDecodeRows(rows: readonly DecodeRow[]): PackedDecodeRows {
  return {
    slots: Float64Array.from(rows, ({ slot }) => slot),
    tokens: Float64Array.from(rows, ({ token }) => token ?? absent),
    klFrom: Float64Array.from(rows, ({ klFrom }) => klFrom ?? absent),
  };
}

export function unpackDecodeRows({ slots, tokens, klFrom }: PackedDecodeRows): DecodeRow[] {
  return Array.from(slots, (slot, i): DecodeRow => ({
    slot,
    ...(tokens[i] === absent ? {} : { token: tokens[i]! }),
    ...(klFrom[i] === absent ? {} : { klFrom: klFrom[i]! }),
  }));
}

/** How codes are packed. */
export interface CodeFormat {
  readonly activationDtype: "F32" | "F16" | "BF16";
  /** 0 keeps all. */
  readonly maxFeatures: number;
  /** 0 gives none. */
  readonly nearMisses: number;
}

/**
 * The pieces of work that a worker does, each bounded: one packed batch, one chunk of prefill, one decoding step.
 * Batches give one list of proofs a sequence.
 */
export interface Commands {
  forward: {
    args: { readonly batch: PackedSequences; readonly taps: readonly Tap[]; readonly reading: RowReading };
    result: { readonly residuals: Float32Array[]; readonly offsets: Uint32Array; readonly proofs: EditProof[][] };
  };
  encode: {
    args: { readonly sae: string; readonly hook: string; readonly batch: PackedSequences; readonly format: CodeFormat };
    result: { readonly code: WireSparseCode; readonly nearMisses?: NearMisses | undefined; readonly proofs: EditProof[][] };
  };
  encodeRows: { args: { readonly sae: string; readonly rows: Float32Array; readonly format: CodeFormat }; result: { readonly code: WireSparseCode; readonly nearMisses?: NearMisses | undefined } };
  score: { args: { readonly batch: PackedSequences; readonly withKl: boolean }; result: { readonly logprobs: Float32Array; readonly uneditedLogprobs: Float32Array; readonly kl: Float32Array; readonly proofs: EditProof[][] } };
  logits: { args: { readonly batch: PackedSequences; readonly positions: Uint32Array; readonly topK: number | undefined; readonly hook: string | undefined }; result: LogitsResult };
  prefillStart: { args: { readonly rows: readonly PrefillInput[]; readonly report: StepReport; readonly batchTokens: number }; result: { readonly job: number; readonly done: PrefillResult | undefined } };
  prefillStep: { args: { readonly job: number }; result: PrefillResult | undefined };
  prefillCancel: { args: { readonly job: number }; result: undefined };
  decode: { args: { readonly rows: PackedDecodeRows; readonly report: StepReport }; result: StepResult };
  decodeRun: { args: { readonly rows: PackedDecodeRows; readonly steps: number; readonly report: StepReport }; result: StepResult[] };
  fork: { args: { readonly slot: SlotId }; result: SlotId };
  free: { args: { readonly slots: readonly SlotId[] }; result: undefined };
  proofs: { args: { readonly slot: SlotId }; result: EditProof[] };
  usage: { args: undefined; result: EngineUsage };
  loadSae: { args: { readonly sae: string; readonly weights: LoadedSae }; result: SaeInfo };
  unloadSae: { args: { readonly sae: string }; result: undefined };
  decodeRows: { args: { readonly sae: string; readonly codes: SparseRows }; result: Float32Array };
  directions: { args: { readonly sae: string; readonly features: readonly number[]; readonly side: SaeSide }; result: Float32Array };
  featureLogits: { args: { readonly sae: string; readonly start: number; readonly end: number; readonly topK: number }; result: FeatureLogits };
  neighbours: { args: { readonly sae: string; readonly start: number; readonly end: number; readonly side: SaeSide; readonly topK: number }; result: NeighbourRows };
  nearest: { args: { readonly sae: string; readonly query: Float32Array | number; readonly side: SaeSide; readonly topK: number }; result: Neighbour[] };
  /** What every worker does first. */
  open: { args: undefined; result: Omit<EngineInfo, "threads" | "maxBatchRows" | "cacheBytes" | "decodeSteps"> };
  close: { args: undefined; result: undefined };
}

export type CommandName = keyof Commands;

/** How a worker runs a command; `open` and `close` are the worker's own. */
export type CommandHandlers = { readonly [K in Exclude<CommandName, "open" | "close">]: (args: Commands[K]["args"]) => Promise<Commands[K]["result"]> };

/** What a worker is started with. */
export interface WorkerSettings {
  readonly modelDir: string;
  readonly threads: number;
  readonly maxContext: number;
  readonly maxBatchRows: number;
  readonly cacheBytes: number;
  readonly provider: ExecutionProvider;
}

/** Engine → worker. */
export type Request = { readonly id: number; readonly name: CommandName; readonly args: unknown } | { readonly drop: number };

/** An error as it crosses threads. */
export interface ErrorMessage {
  readonly kind: "input" | "cache" | "other";
  readonly message: string;
  readonly stack: string | undefined;
  readonly details: Readonly<Record<string, string | number | undefined>>;
}

/** Worker → engine: one reply a request; `open` is answered unasked, under this id. */
export type Reply = { readonly id: number; readonly result: unknown } | { readonly id: number; readonly error: ErrorMessage };

export const openingId = 0;
