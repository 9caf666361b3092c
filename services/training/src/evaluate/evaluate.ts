import { create } from "@bufbuild/protobuf";
import { InterventionSchema, SteeringMethod, StrengthUnit, type Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { newRowStats, SaeCodec, type SaeWeights } from "@mistral-sae/sae";
import { f32FromBytes, type SparseRows } from "@mistral-sae/tensor";
import { tokenWindows } from "../harvest/token-windows.ts";
import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { SaePeer } from "../peer/sae-peer.ts";
import { rowsOf, type Window } from "../peer/tokens.ts";
import type { StageContext } from "../threads/stage-thread.ts";
import { evaluationDocuments, type EvaluationText } from "./held-back.ts";
import { LossSums, type Losses, type ScoredSequence } from "./loss-sums.ts";
import { ReconstructionSums, type Reconstruction } from "./reconstruction-sums.ts";

/** What to measure. */
export interface EvaluationPlan {
  /** models/{model}/saes/{sae}, loaded. */
  readonly sae: string;
  readonly hookName: string;
  readonly text: EvaluationText;
  readonly contextSize: number;
  readonly bosTokenId: number | undefined;
}

/** Figures over some tokens; losses are missing where no token was predicted. */
export interface Figures {
  readonly reconstruction: Reconstruction;
  readonly losses: Losses | undefined;
}

export interface Evaluation {
  readonly all: Figures;
  readonly bySource: Readonly<Record<string, Figures>>;
}

/** Tokens of one round of calls. */
const BATCH_TOKENS = 4096;
const BATCHES_IN_FLIGHT = 2;
/** Sources told apart; those with the most tokens come first. */
const MOST_SOURCES = 100;

/** Measures an SAE on text through the model that it belongs to. @returns Undefined when there is no text to measure on. */
export async function evaluate(plan: EvaluationPlan, weights: SaeWeights, peer: InferencePeer, saes: SaePeer, context: StageContext): Promise<Evaluation | undefined> {
  const codec = new SaeCodec(weights);
  const { dIn, dSae } = weights.config;
  let shift: Float64Array | undefined;
  let all: Sums | undefined;
  const bySource = new Map<string, Sums>();
  const measured = inFlight(windowBatches(plan, peer, context.signal), BATCHES_IN_FLIGHT, (batch) => measure(batch, plan, dIn, peer, saes));
  for await (const { windows, rows, codes, scores } of measured) {
    shift ??= meanOf(rows, dIn);
    all ??= new Sums(shift, dSae);
    const stats = newRowStats(rows.length / dIn);
    codec.prepare(rows, new Float32Array(rows.length), stats);
    const reconstruction = codec.decodeRows(codes, stats);
    let row = 0;
    for (const [at, { window, source }] of windows.entries()) {
      const own = bySource.get(source) ?? new Sums(shift, dSae);
      bySource.set(source, own);
      for (const sums of [all, own]) {
        for (let position = 0; position < window.ids.length; position += 1) {
          if (window.special[position] === 0) sums.reconstruction.add(rows, reconstruction, row + position, codes, row + position);
        }
        const score = scores[at];
        if (score !== undefined) sums.losses.add(score, window.special);
      }
      row += window.ids.length;
    }
    context.progress({ stage: "evaluate", doneUnits: all.reconstruction.rows, totalUnits: Math.max(plan.text.tokens, all.reconstruction.rows), unit: "tokens" });
  }
  if (all === undefined || all.reconstruction.rows === 0) return undefined;
  return { all: all.figures(), bySource: namedFigures(bySource, context) };
}

class Sums {
  readonly reconstruction: ReconstructionSums;
  readonly losses = new LossSums();

  constructor(shift: Float64Array, dSae: number) {
    this.reconstruction = new ReconstructionSums(shift, dSae);
  }

  figures(): Figures {
    return { reconstruction: this.reconstruction.figures(), losses: this.losses.figures() };
  }
}

function namedFigures(bySource: ReadonlyMap<string, Sums>, context: StageContext): Record<string, Figures> {
  const measured = [...bySource].filter(([, sums]) => sums.reconstruction.rows > 0).sort(([, a], [, b]) => b.reconstruction.rows - a.reconstruction.rows);
  if (measured.length > MOST_SOURCES) context.warn(`the evaluation names the ${MOST_SOURCES} largest of ${measured.length} sources`);
  return Object.fromEntries(measured.slice(0, MOST_SOURCES).map(([source, sums]) => [source, sums.figures()]));
}

interface SourcedWindow {
  readonly window: Window;
  readonly source: string;
}

async function* windowBatches(plan: EvaluationPlan, peer: InferencePeer, signal: AbortSignal): AsyncIterable<SourcedWindow[]> {
  let batch: SourcedWindow[] = [];
  let tokens = 0;
  let read = 0;
  for await (const { document, windows } of tokenWindows(evaluationDocuments(plan.text, signal), peer, plan)) {
    for (const window of windows) {
      batch.push({ window, source: document.source });
      tokens += window.ids.length;
      read += rowsOf(window);
      if (tokens >= BATCH_TOKENS) {
        yield batch;
        batch = [];
        tokens = 0;
      }
      if (read >= plan.text.tokens) break;
    }
    if (read >= plan.text.tokens) break;
  }
  if (batch.length > 0) yield batch;
}

interface MeasuredBatch {
  readonly windows: readonly SourcedWindow[];
  /** [rows, d_in], special rows included. */
  readonly rows: Float32Array;
  readonly codes: SparseRows;
  readonly scores: readonly ScoredSequence[];
}

async function measure(windows: readonly SourcedWindow[], plan: EvaluationPlan, dIn: number, peer: InferencePeer, saes: SaePeer): Promise<MeasuredBatch> {
  const sequences = windows.map(({ window }) => window);
  const [rows, codes, scores] = await Promise.all([residuals(sequences, plan.hookName, dIn, peer), saes.encode(plan.sae, sequences), scoresOf(sequences, plan, dIn, peer)]);
  return { windows, rows, codes, scores };
}

async function residuals(sequences: readonly Window[], hookName: string, dIn: number, peer: InferencePeer): Promise<Float32Array> {
  let total = 0;
  const first = sequences.map(({ ids }) => {
    const start = total;
    total += ids.length;
    return start;
  });
  const rows = new Float32Array(total * dIn);
  await peer.forward([hookName], "F32", sequences, ({ prompt, start, bytes }) => {
    const at = ((first[prompt] ?? 0) + start) * dIn;
    f32FromBytes("F32", bytes, rows.subarray(at, at + bytes.length / 4));
  });
  return rows;
}

async function scoresOf(sequences: readonly Window[], plan: EvaluationPlan, dIn: number, peer: InferencePeer): Promise<ScoredSequence[]> {
  const sae = await peer.score(sequences, [splice(plan.sae)], true);
  const zero = await peer.score(sequences, [zeroAblation(plan.hookName, dIn)], true);
  const none = new Float32Array(0);
  return sae.map((scores, at) => ({
    clean: scores.uneditedLogprobs ?? none,
    sae: scores.logprobs,
    zero: zero[at]?.logprobs ?? none,
    klSae: scores.kl ?? none,
    klZero: zero[at]?.kl ?? none,
  }));
}

/** The residual replaced by its reconstruction, special tokens left alone. */
function splice(sae: string): Intervention {
  return create(InterventionSchema, { id: "sae", target: { case: "sae", value: sae }, method: SteeringMethod.RECONSTRUCT });
}

/** The residual replaced by zeros, special tokens left alone. */
function zeroAblation(hookName: string, dIn: number): Intervention {
  const vector = { dtype: DataType.F32, shape: [dIn], data: new Uint8Array(dIn * 4) };
  return create(InterventionSchema, { id: "zero", target: { case: "direction", value: { hookName, vector } }, method: SteeringMethod.REPLACE, strength: 1, unit: StrengthUnit.RAW });
}

function meanOf(rows: Float32Array, width: number): Float64Array {
  const mean = new Float64Array(width);
  const count = rows.length / width;
  for (let at = 0; at < rows.length; at += 1) mean[at % width] = (mean[at % width] as number) + (rows[at] as number) / count;
  return mean;
}
