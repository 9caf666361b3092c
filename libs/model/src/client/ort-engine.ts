import { InputError, type SparseRows } from "@mistral-sae/tensor";
import type {
  DecodeRow,
  EncodedBatch,
  EncodedRows,
  EncodeOptions,
  EncodeSequencesOptions,
  Engine,
  EngineInfo,
  EngineUsage,
  FeatureLogits,
  ForwardBatch,
  ForwardOptions,
  LogitsOptions,
  LogitsResult,
  NearestOptions,
  Neighbour,
  PackedBatch,
  PrefillResult,
  PrefillRow,
  SaeInfo,
  SaeSide,
  ScoreBatch,
  ScoreOptions,
  Sequence,
  SlotId,
  StepOptions,
  StepResult,
} from "../engine.ts";
import type { EditProof } from "../edits/edit.ts";
import type { LoadedSae } from "../sae/loaded-sae.ts";
import type { NeighbourRows } from "../sae/neighbours.ts";
import { type CodeFormat, packDecodeRows, type PackedSequences, type StepReport } from "../worker/protocol.ts";
import { graphHead } from "../graph/head-width.ts";
import { arenaBytes } from "../runtime/kv-arena.ts";
import { capacityFor } from "../runtime/kv-cache.ts";
import { checkTokens } from "./check-tokens.ts";
import { joinFeatureLogits, joinNeighbours, rangesOf, requirePositive, requireRange } from "./feature-ranges.ts";
import { editCompactor, packByLength, packMasks, packSequences } from "./packing.ts";
import { pipeline } from "./pipeline.ts";
import type { WorkerLink } from "./worker-link.ts";

/** The engine port over one worker thread that runs onnxruntime: cuts calls into bounded pieces of work. */
export class OrtEngine implements Engine {
  readonly info: EngineInfo;
  readonly closed: Promise<Error | undefined>;
  readonly #link: WorkerLink;
  readonly #batchTokens: number;
  readonly #saes = new Map<string, SaeInfo>();

  constructor(link: WorkerLink, info: EngineInfo) {
    this.info = info;
    this.closed = link.closed;
    this.#link = link;
    this.#batchTokens = usualBatchTokens(info);
  }

  async *forward(sequences: readonly Sequence[], { taps, rows, reduction, signal, batchTokens }: ForwardOptions): AsyncIterable<ForwardBatch> {
    if (taps.length === 0) throw new InputError("nothing is to be read", { field: "taps", got: "none", wanted: "at least one hook" });
    for (const [i, { tokens }] of sequences.entries()) checkRows(rows?.[i], tokens.length, i);
    yield* this.#batches(sequences, { signal, batchTokens }, async (batch, options, indices) => {
      const reading = { rows: rows === undefined ? undefined : packMasks(rows, batch.offsets, indices), reduction };
      return await this.#link.call("forward", { batch, taps, reading }, options);
    });
  }

  async logits(sequence: Sequence, { positions, topK, hook, signal }: LogitsOptions = {}): Promise<LogitsResult> {
    checkTokens(sequence.tokens, this.info, "tokens");
    const { length } = sequence.tokens;
    const wanted = positions === "all" ? Uint32Array.from(sequence.tokens, (_, i) => i) : Uint32Array.from(checkPositions(positions ?? [length - 1], length));
    if (topK !== undefined) requirePositive("topK", topK, this.info.dVocab);
    return await this.#link.call("logits", { batch: packSequences([sequence], Uint32Array.of(0)), positions: wanted, topK, hook }, { signal });
  }

  async *score(sequences: readonly Sequence[], { withKl, signal, batchTokens }: ScoreOptions = {}): AsyncIterable<ScoreBatch> {
    for await (const batch of this.#batches(sequences, { signal, batchTokens }, async (batch, options) => await this.#link.call("score", { batch, withKl: withKl ?? false }, options))) {
      yield { ...batch, offsets: batch.offsets.map((offset, i) => offset - i) };
    }
  }

  async prefill(rows: readonly PrefillRow[], options: StepOptions = {}): Promise<PrefillResult> {
    requireRows(rows);
    for (const [i, row] of rows.entries()) checkTokens(row.tokens, this.info, `rows[${i}].tokens`);
    const { signal } = options;
    signal?.throwIfAborted();
    const compact = editCompactor();
    const sent = rows.map(({ edits, tokens, ...rest }) => ({ ...rest, tokens: tokens.slice(), edits: compact(edits) }));
    const started = await this.#link.callThrough("prefillStart", { rows: sent, report: reportOf(options), batchTokens: this.#batchTokens }, { signal });
    const job = started?.job;
    for (let done = started?.done; ; done = await this.#link.callThrough("prefillStep", { job: job ?? 0 }, { signal })) {
      if (signal?.aborted === true) {
        if (done !== undefined) await this.free(done.slots);
        else if (job !== undefined) await this.#link.call("prefillCancel", { job });
        signal.throwIfAborted();
      }
      if (done !== undefined) return done;
    }
  }

  async decode(rows: readonly DecodeRow[], options: StepOptions = {}): Promise<StepResult> {
    requireRows(rows);
    return await this.#link.call("decode", { rows: packDecodeRows(rows), report: reportOf(options) }, { signal: options.signal });
  }

  async decodeRun(rows: readonly DecodeRow[], steps: number, options: StepOptions = {}): Promise<readonly StepResult[]> {
    requireRows(rows);
    requirePositive("steps", steps, Infinity);
    const { signal } = options;
    return await this.#link.call("decodeRun", { rows: packDecodeRows(rows), steps: Math.min(steps, this.info.decodeSteps), report: reportOf(options) }, { signal });
  }

  async fork(slot: SlotId): Promise<SlotId> {
    return await this.#link.call("fork", { slot });
  }

  async free(slots: readonly SlotId[]): Promise<void> {
    await this.#link.call("free", { slots });
  }

  async proofs(slot: SlotId): Promise<readonly EditProof[]> {
    return await this.#link.call("proofs", { slot });
  }

  async loadSae(sae: string, weights: LoadedSae): Promise<SaeInfo> {
    const info = await this.#link.call("loadSae", { sae, weights: ownArrays(weights) });
    this.#saes.set(sae, info);
    return info;
  }

  async unloadSae(sae: string): Promise<void> {
    await this.#link.call("unloadSae", { sae });
    this.#saes.delete(sae);
  }

  saes(): readonly string[] {
    return [...this.#saes.keys()];
  }

  async *encodeRows(sae: string, rows: Float32Array, options: EncodeOptions = {}): AsyncIterable<EncodedRows> {
    const { dIn } = this.#sae(sae);
    if (rows.length % dIn !== 0) throw new InputError("the rows do not fill whole rows of the SAE's input", { field: "rows", got: `${rows.length} values`, wanted: `a multiple of ${dIn}` });
    const format = formatOf(options);
    const jobs = rangesOf(0, rows.length / dIn, this.#batchTokens).map(([start, end]) => async (signal: AbortSignal): Promise<EncodedRows> => {
      const part = rows.slice(start * dIn, end * dIn);
      return { start, ...(await this.#link.call("encodeRows", { sae, rows: part, format }, { signal, move: [part] })) };
    });
    yield* pipeline(jobs, options.signal);
  }

  async *encode(sae: string, sequences: readonly Sequence[], options: EncodeSequencesOptions): AsyncIterable<EncodedBatch> {
    const format = formatOf(options);
    yield* this.#batches(sequences, options, async (batch, call) => await this.#link.call("encode", { sae, hook: options.hook, batch, format }, call));
  }

  async decodeRows(sae: string, codes: SparseRows): Promise<Float32Array> {
    return await this.#link.call("decodeRows", { sae, codes });
  }

  async directions(sae: string, features: readonly number[], side: SaeSide = "decoder"): Promise<Float32Array> {
    return await this.#link.call("directions", { sae, features, side });
  }

  async featureLogits(sae: string, start: number, end: number, { topK = 10, signal }: { readonly topK?: number; readonly signal?: AbortSignal } = {}): Promise<FeatureLogits> {
    const { dSae } = this.#sae(sae);
    requirePositive("topK", topK, this.info.dVocab);
    requireRange(start, end, dSae);
    const parts: FeatureLogits[] = [];
    const jobs = rangesOf(start, end, 256).map(([from, to]) => async (stop: AbortSignal) => await this.#link.call("featureLogits", { sae, start: from, end: to, topK }, { signal: stop }));
    for await (const part of pipeline(jobs, signal)) parts.push(part);
    return joinFeatureLogits(parts, topK);
  }

  async nearest(sae: string, query: Float32Array | number, { side = "decoder", topK = 10 }: NearestOptions = {}): Promise<readonly Neighbour[]> {
    requirePositive("topK", topK, Infinity);
    return await this.#link.call("nearest", { sae, query: typeof query === "number" ? query : query.slice(), side, topK });
  }

  async neighbours(sae: string, start: number, end: number, { side = "decoder", topK = 10, signal }: NearestOptions & { readonly signal?: AbortSignal } = {}): Promise<NeighbourRows> {
    requirePositive("topK", topK, Infinity);
    requireRange(start, end, this.#sae(sae).dSae);
    const jobs = rangesOf(start, end, 128).map(([from, to]) => async (stop: AbortSignal) => await this.#link.call("neighbours", { sae, start: from, end: to, side, topK }, { signal: stop }));
    const parts: NeighbourRows[] = [];
    for await (const part of pipeline(jobs, signal)) parts.push(part);
    return joinNeighbours(parts, topK);
  }

  cacheBytesOf(tokens: number): number {
    const { nLayers, nKeyValueHeads, nCtx } = this.info;
    return arenaBytes({ nLayers, nKeyValueHeads, dHead: graphHead(this.info) }, capacityFor(Math.max(1, Math.min(tokens, nCtx)), nCtx), 1);
  }

  async usage(): Promise<EngineUsage> {
    return await this.#link.call("usage", undefined);
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  /** Runs sequences batch by batch; `run` is given each batch and gives its results. */
  async *#batches<R extends { readonly proofs: readonly (readonly EditProof[])[] }>(
    sequences: readonly Sequence[],
    { signal, batchTokens = this.#batchTokens }: { readonly signal?: AbortSignal | undefined; readonly batchTokens?: number | undefined },
    run: (batch: PackedSequences, options: { readonly signal: AbortSignal; readonly move: readonly ArrayBufferView[] }, indices: Uint32Array) => Promise<R>,
  ): AsyncGenerator<R & PackedBatch, void, undefined> {
    requirePositive("batchTokens", batchTokens, Infinity);
    for (const [i, sequence] of sequences.entries()) checkTokens(sequence.tokens, this.info, `sequences[${i}].tokens`);
    const plan = packByLength(Uint32Array.from(sequences, (sequence) => sequence.tokens.length), batchTokens);
    const jobs = plan.map((indices) => async (stop: AbortSignal): Promise<R & PackedBatch> => {
      const batch = packSequences(sequences, indices);
      const offsets = batch.offsets.slice();
      return { offsets, ...(await run(batch, { signal: stop, move: [batch.tokens] }, indices)), sequences: indices };
    });
    yield* pipeline(jobs, signal);
  }

  #sae(name: string): SaeInfo {
    const info = this.#saes.get(name);
    if (info === undefined) throw new InputError("there is no such SAE loaded", { field: "sae", got: name, wanted: this.saes().join(", ") || "one that was loaded" });
    return info;
  }
}

/** Enough rows to fill the matrix products, and few enough that a batch of a large model ends soon. */
function usualBatchTokens({ parameters }: EngineInfo): number {
  return Math.min(2048, Math.max(512, 2 ** Math.round(Math.log2(6e10 / parameters))));
}

function requireRows(rows: readonly unknown[]): void {
  if (rows.length === 0) throw new InputError("a step has no rows", { field: "rows", got: "none", wanted: "at least one" });
}

function reportOf({ taps = [], traces = [], withLogits = false, skipEnded = false }: StepOptions): StepReport {
  return { taps, traces, withLogits, skipEnded };
}

function formatOf({ activationDtype = "F16", maxFeatures = 0, nearMisses = 0 }: EncodeOptions): CodeFormat {
  return { activationDtype, maxFeatures, nearMisses };
}

function checkPositions(positions: readonly number[], length: number): readonly number[] {
  for (const [i, position] of positions.entries()) {
    if (!Number.isSafeInteger(position) || position < 0 || position >= length) throw new InputError("a position lies outside the sequence", { field: `positions[${i}]`, got: position, wanted: `0 to ${length - 1}` });
  }
  return positions;
}

function checkRows(rows: Uint8Array | undefined, length: number, index: number): void {
  if (rows !== undefined && rows.length !== length) throw new InputError("the rows wanted do not match the sequence", { field: `rows[${index}]`, got: `${rows.length} bytes`, wanted: `${length}, one a token` });
}

/** Arrays that view part of a buffer are copied, because posting a view clones its whole buffer; shared memory stays. */
function ownArrays(weights: LoadedSae): LoadedSae {
  const own = (array: Float32Array): Float32Array => (array.buffer instanceof SharedArrayBuffer || array.byteLength === array.buffer.byteLength ? array : array.slice());
  const { wEnc, bEnc, wDec, bDec, threshold } = weights;
  return {
    dIn: weights.dIn,
    dSae: weights.dSae,
    architecture: weights.architecture,
    k: weights.k,
    normalizeActivations: weights.normalizeActivations,
    applyBDecToInput: weights.applyBDecToInput,
    rescaleActsByDecoderNorm: weights.rescaleActsByDecoderNorm,
    wEnc: own(wEnc),
    bEnc: own(bEnc),
    wDec: own(wDec),
    bDec: own(bDec),
    threshold: threshold === undefined ? undefined : own(threshold),
  };
}
