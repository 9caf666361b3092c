import type { SparseRows, WireSparseCode } from "@mistral-sae/tensor";
import type { Edit, EditProof } from "./edits/edit.ts";
import type { NearMisses } from "./sae/near-misses.ts";
import type { NeighbourRows } from "./sae/neighbours.ts";
import type { LoadedSae } from "./sae/loaded-sae.ts";
import type { SamplingParams } from "./sampling/params.ts";

/**
 * The engine port: a model that runs somewhere, its caches and its loaded SAEs. Nothing of a session leaves it:
 * callers hold slots, edits are data, residuals and codes come out as arrays.
 *
 * Every method may be called at any time from one thread; the engine runs one piece of work at a time, decoding
 * first, then prefill, then the rest. An aborted signal ends a call with the signal's reason at the next piece of
 * work (one decoding step, one chunk of a prompt, one packed batch). Bad arguments throw InputError naming the field.
 * Arrays that come back belong to the caller; arrays given are copied before the call returns, and may be reused.
 */
export interface Engine {
  readonly info: EngineInfo;

  /** Settles when the engine ends: undefined after close(), an Error when it died. */
  readonly closed: Promise<Error | undefined>;

  /**
   * Rows of sequences at hooks, run only as far as the deepest one. Sequences are packed by length, so batches come
   * in another order than the sequences: each names its own.
   */
  forward(sequences: readonly Sequence[], options: ForwardOptions): AsyncIterable<ForwardBatch>;

  /** Logits [positions, dVocab] of one sequence, or the likeliest tokens of each position. */
  logits(sequence: Sequence, options?: LogitsOptions): Promise<LogitsResult>;

  /** Log-probability of every token given those before it, in batches packed as in `forward`. */
  score(sequences: readonly Sequence[], options?: ScoreOptions): AsyncIterable<ScoreBatch>;

  /** Fills a slot for each row and chooses its first token. All rows are one request: if one fails, none is kept. */
  prefill(rows: readonly PrefillRow[], options?: StepOptions): Promise<PrefillResult>;

  /** Feeds each slot one token, batched, and chooses the next one: one round trip a step. */
  decode(rows: readonly DecodeRow[], options?: StepOptions): Promise<StepResult>;

  /**
   * Up to `steps` steps of `decode` in one run of the model, the tokens chosen being fed: their results in order. At most
   * {@link EngineInfo.decodeSteps}; a single one where a row has edits, penalties or log-probabilities, or something is read.
   */
  decodeRun(rows: readonly DecodeRow[], steps: number, options?: StepOptions): Promise<readonly StepResult[]>;

  /** A second slot with the same tokens and cache. Its edits and sampling are the same until prefill gives others. */
  fork(slot: SlotId): Promise<SlotId>;

  /** Gives slots back; unknown ones are ignored. */
  free(slots: readonly SlotId[]): Promise<void>;

  /** What the edits of a slot have done so far. */
  proofs(slot: SlotId): Promise<readonly EditProof[]>;

  /** Loads an SAE under a name. Refused when its width differs from the model's or the name is taken. */
  loadSae(sae: string, weights: LoadedSae): Promise<SaeInfo>;

  /** Frees an SAE; slots that still use it keep it alive. */
  unloadSae(sae: string): Promise<void>;

  /** Names of the SAEs that are loaded. */
  saes(): readonly string[];

  /** Codes of residual rows [n, d_in], in batches in order. */
  encodeRows(sae: string, rows: Float32Array, options?: EncodeOptions): AsyncIterable<EncodedRows>;

  /** Codes of the residual of sequences at a hook, packed as in `forward`; residuals never leave the engine. */
  encode(sae: string, sequences: readonly Sequence[], options: EncodeSequencesOptions): AsyncIterable<EncodedBatch>;

  /** Rows [n, d_in] of codes. For SAEs that normalise their input the result is in normalised space. */
  decodeRows(sae: string, codes: SparseRows): Promise<Float32Array>;

  /** Rows [features, d_in] of W_dec or W_enc. */
  directions(sae: string, features: readonly number[], side?: SaeSide): Promise<Float32Array>;

  /** W_U · (g ∘ d) for features [start, end): the tokens that each promotes and suppresses. `topK` defaults to 10. */
  featureLogits(sae: string, start: number, end: number, options?: { readonly topK?: number; readonly signal?: AbortSignal }): Promise<FeatureLogits>;

  /** Features whose rows have the largest cosine with a vector [d_in] or another feature (itself left out). */
  nearest(sae: string, query: Float32Array | number, options?: NearestOptions): Promise<readonly Neighbour[]>;

  /** The neighbours of features [start, end), each compared with all. `topK` defaults to 10. */
  neighbours(sae: string, start: number, end: number, options?: NearestOptions & { readonly signal?: AbortSignal }): Promise<NeighbourRows>;

  /** Bytes that the keys and values of a sequence of `tokens` tokens take of {@link EngineInfo.cacheBytes}. */
  cacheBytesOf(tokens: number): number;

  /** What is held at this moment. */
  usage(): Promise<EngineUsage>;

  /** Ends the engine; calls under way reject. */
  close(): Promise<void>;
}

/** What the model is and what the engine can do with it. */
export interface EngineInfo {
  readonly modelDir: string;
  /** config.json's architecture, e.g. MistralForCausalLM. */
  readonly architecture: string;
  /** Inputs that the checkpoint was trained for and that are not taken, e.g. ["image"]: only its language model is read. */
  readonly refusedInputs: readonly string[];
  readonly nLayers: number;
  readonly dModel: number;
  readonly nHeads: number;
  readonly nKeyValueHeads: number;
  readonly dHead: number;
  readonly dMlp: number;
  readonly dVocab: number;
  /** Longest sequence, given and generated tokens together. */
  readonly nCtx: number;
  /** Arithmetic: f32, or weights in blocks of int8 or int4 that meet rows rounded to int8. */
  readonly precision: EnginePrecision;
  /** Element types of the weights as stored, e.g. ["F16"]. */
  readonly storedDtypes: readonly string[];
  /** Parameters. */
  readonly parameters: number;
  readonly bosTokenId: number | undefined;
  /** From generation_config.json, else config.json. */
  readonly eosTokenIds: readonly number[];
  /** SHA-256, hex, over config, tokenizer and weight files. */
  readonly digest: string;
  /** Every hook point known by name, and what it allows. */
  readonly hooks: readonly HookInfo[];
  /** Engine and execution provider, e.g. "onnxruntime 1.30.0 cpu". */
  readonly backend: string;
  readonly threads: number;
  /** Rows of one decode call at most. */
  readonly maxBatchRows: number;
  /** Steps of one `decodeRun` at most: what a cancelled generation waits for. */
  readonly decodeSteps: number;
  /** Memory for keys and values, bytes. */
  readonly cacheBytes: number;
}

/** Arithmetic of the projections and the head. */
export type EnginePrecision = "f32" | "int8" | "int4";

/** What an engine holds. */
export interface EngineUsage {
  /** Slots that were not given back. */
  readonly slots: number;
  /** Memory taken for keys and values, bytes; what was given back serves the next slots and is counted too. */
  readonly cacheBytes: number;
}

/** One hook point. */
export interface HookInfo {
  /** TransformerLens name. */
  readonly hookName: string;
  /** Width of a row. */
  readonly width: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** Why not, where it is not. */
  readonly refusalReason: string;
}

/** Tokens that the model reads as they are (BOS included where there is one), and the edits made on the way. */
export interface Sequence {
  /** 1 to nCtx ids below dVocab. */
  readonly tokens: Uint32Array;
  readonly edits?: readonly Edit[];
}

/** A hook to read: any that {@link EngineInfo.hooks} calls readable. */
export interface Tap {
  readonly hook: string;
  /** Read after the edits at this hook; default false, before them. */
  readonly afterEdits?: boolean;
}

/** One row for several: the last of them, or the mean or largest of each component. */
export type Reduction = "last" | "mean" | "max";

export interface ForwardOptions {
  readonly taps: readonly Tap[];
  /** What to read of each sequence, one byte a token, 1 where a row is wanted; an entry left undefined, or no list: all. */
  readonly rows?: readonly (Uint8Array | undefined)[];
  /** Make the rows of a sequence into one; a sequence without rows has none. */
  readonly reduction?: Reduction;
  readonly signal?: AbortSignal;
  /** Tokens of one packed batch at most, padding included; default chosen for the model. */
  readonly batchTokens?: number;
}

/** Sequences that ran together. Rows lie packed, without padding, sequence after sequence; where some are wanted only, those. */
export interface PackedBatch {
  /** Indices in the call's list, in the order of the rows. */
  readonly sequences: Uint32Array;
  /** [sequences + 1] first row of each. */
  readonly offsets: Uint32Array;
  /** One list a sequence, in the order of its edits. */
  readonly proofs: readonly (readonly EditProof[])[];
}

export interface ForwardBatch extends PackedBatch {
  /** One [rows, width of the hook] a tap, in the order of the taps. */
  readonly residuals: readonly Float32Array[];
}

export interface LogitsOptions {
  /** Positions, each below the length; absent: the last. */
  readonly positions?: readonly number[] | "all";
  /** The likeliest tokens of each position in place of the whole row. */
  readonly topK?: number;
  /** Residual hook read through the final norm and the head (logit lens); absent: the end of the model. */
  readonly hook?: string;
  readonly signal?: AbortSignal;
}

export interface LogitsResult {
  readonly positions: Uint32Array;
  /** [positions, dVocab]; empty when topK was given. */
  readonly logits: Float32Array;
  /** [positions, topK], best first; empty without topK. */
  readonly topIds: Uint32Array;
  readonly topLogits: Float32Array;
  /** [positions] ln Σ exp of each whole row; empty without topK. */
  readonly logSumExp: Float64Array;
  readonly proofs: readonly EditProof[];
}

export interface ScoreOptions {
  /** Compare with the unedited model (runs it as well). */
  readonly withKl?: boolean;
  readonly signal?: AbortSignal;
  readonly batchTokens?: number;
}

/** Offsets count scores: a sequence of n tokens has n − 1. */
export interface ScoreBatch extends PackedBatch {
  /** ln p(token i+1 | tokens up to i). */
  readonly logprobs: Float32Array;
  /** The same of the unedited model; empty without `withKl`. */
  readonly uneditedLogprobs: Float32Array;
  /** KL(unedited ‖ edited) at position i, nats; empty when not asked for. */
  readonly kl: Float32Array;
}

/** Handle of a sequence whose keys and values are cached. */
export type SlotId = number;

export interface PrefillRow extends Sequence {
  readonly sampling?: SamplingParams;
  /**
   * Tokens that were given, 1 to all of them; the rest were generated before, and edits, penalties and the random
   * stream go on from there. Default all.
   */
  readonly promptLength?: number;
  /**
   * Share the cache of this slot for the longest prefix of equal tokens that neither edits: a slot, or `{ row }`, an
   * earlier row of the same call.
   */
  readonly reuse?: SlotId | { readonly row: number };
  /** Row of the same call that `kl` compares with. */
  readonly klFromRow?: number;
  /** Tokens after which the sequence is over: what `skipEnded` goes by. */
  readonly endIds?: readonly number[];
}

export interface DecodeRow {
  readonly slot: SlotId;
  /** Token to feed; default the one chosen last. */
  readonly token?: number;
  /** Slot of the same call that `kl` compares with. */
  readonly klFrom?: SlotId;
}

export interface StepOptions {
  /** Residuals to read: of every prompt row in prefill, of the row fed in decode. */
  readonly taps?: readonly Tap[];
  /** Codes to report of the same rows. */
  readonly traces?: readonly Trace[];
  /** Return the logits of the last row of each slot too. */
  readonly withLogits?: boolean;
  /**
   * In decode: leave out the rows whose last token ended their sequence; `noToken` stands for their next one. So a step can
   * be asked for before the result of the step before it has been looked at.
   */
  readonly skipEnded?: boolean;
  readonly signal?: AbortSignal;
}

/** SAE codes of residual rows, read before the edits at their hook. */
export interface Trace {
  readonly sae: string;
  readonly hook: string;
  /** These features, active or not, in this order; absent: the strongest. */
  readonly features?: readonly number[];
  /** How many of the strongest; default all that are active. */
  readonly topK?: number;
}

/** One entry a row of the call, in its order. */
export interface StepResult {
  /** The token chosen next. */
  readonly tokens: Uint32Array;
  /** Rows of a decoding step without one, because their logits are not finite; prefill throws instead. */
  readonly faults: readonly RowFault[];
  /** Its log-probability under the model (before temperature and penalties); NaN when sampling asks for none. */
  readonly logprobs: Float32Array;
  /** The likeliest tokens, best first, as many as the row's nLogprobs. */
  readonly top: readonly TopLogprobs[];
  /** KL(this row ‖ the row compared with) of the model's distributions, nats; NaN when not asked for. */
  readonly kl: Float64Array;
  /**
   * 1 where an edit of the slot was applied to the row fed (in prefill: to a row of the prompt), 2 where edits select it
   * and their conditions hold all of them off, 0 where none selects it.
   */
  readonly edited: Uint8Array;
  /** Index of the edit of the slot whose conditions end the sequence there, -1 for none: nothing more is to be fed. */
  readonly endedBy: Int32Array;
  /** One a tap: rows of all slots one after another; `offsets` says where each slot's begin. */
  readonly residuals: readonly Float32Array[];
  /** One a trace, rows as in `residuals`. */
  readonly codes: readonly SparseRows[];
  /** [rows + 1] first residual row of each. In decode simply 0, 1, 2, … unless rows were left out. */
  readonly offsets: Uint32Array;
  /** [rows, dVocab] when asked for, else empty. */
  readonly logits: Float32Array;
}

/** A row that cannot go on. */
export interface RowFault {
  readonly row: number;
  readonly message: string;
}

export interface TopLogprobs {
  readonly tokens: Uint32Array;
  readonly logprobs: Float32Array;
}

/** In prefill, taps and traces cover the rows that ran: a reused prefix is left out. */
export interface PrefillResult extends StepResult {
  readonly slots: readonly SlotId[];
  /** Tokens of each row whose keys and values were shared. */
  readonly reusedTokens: Uint32Array;
}

/** What loading an SAE found out. */
export interface SaeInfo {
  readonly dIn: number;
  readonly dSae: number;
  /** Mean length of the decoder rows. */
  readonly wDecNormMean: number;
}

export type SaeSide = "decoder" | "encoder";

export interface NearestOptions {
  readonly side?: SaeSide;
  readonly topK?: number;
}

export interface EncodeOptions {
  /** Element type of the activations; default F16 (F32 in its place where a value does not fit). */
  readonly activationDtype?: "F32" | "F16" | "BF16";
  /** Keep at most this many features a row, 0 keeps all; default 0. */
  readonly maxFeatures?: number;
  /** So many features a row that came closest to firing; default 0. */
  readonly nearMisses?: number;
  readonly signal?: AbortSignal;
}

export interface EncodeSequencesOptions extends EncodeOptions {
  /** Residual hook whose rows are encoded. */
  readonly hook: string;
  readonly batchTokens?: number;
}

/** A run of rows. */
export interface EncodedRows {
  /** First row. */
  readonly start: number;
  readonly code: WireSparseCode;
  readonly nearMisses?: NearMisses | undefined;
}

export interface EncodedBatch extends PackedBatch {
  readonly code: WireSparseCode;
  readonly nearMisses?: NearMisses | undefined;
}


export interface FeatureLogits {
  readonly topK: number;
  /** [features, topK], strongest first. */
  readonly posTokenIds: Uint32Array;
  readonly posLogits: Float32Array;
  /** [features, topK], most negative first. */
  readonly negTokenIds: Uint32Array;
  readonly negLogits: Float32Array;
}

export interface Neighbour {
  readonly feature: number;
  readonly cosine: number;
}
