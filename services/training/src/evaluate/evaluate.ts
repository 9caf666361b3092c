import { availableParallelism } from "node:os";
import { create } from "@bufbuild/protobuf";
import { InterventionSchema, SteeringMethod, StrengthUnit, type Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { decoderSimilarity, RowEncoder, type DecoderSimilarity, type SaeWeights } from "@mistral-sae/sae";
import { tokenWindows } from "../harvest/token-windows.ts";
import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import { rowsOf, type Window } from "../peer/tokens.ts";
import type { StageContext } from "../threads/stage-thread.ts";
import { evaluationDocuments, type EvaluationText } from "./held-back.ts";
import { hookRows, type HookRows } from "./hook-rows.ts";
import { LossSums, type Losses, type ScoredSequence } from "./loss-sums.ts";
import { ReconstructionSums, type Reconstruction } from "./reconstruction-sums.ts";

/** What to measure. */
export interface EvaluationPlan {
  /** models/{model}/saes/{sae}, loaded, whose reconstruction replaces the residual; undefined leaves the losses out. */
  readonly sae: string | undefined;
  /** Hook whose rows the SAE reads. */
  readonly hookName: string;
  /** Hook whose rows it should give: another one for a transcoder. */
  readonly hookNameOut: string;
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
  readonly decoderSimilarity: DecoderSimilarity | undefined;
  readonly bySource: Readonly<Record<string, Figures>>;
}

/** Tokens of one round of calls. */
const BATCH_TOKENS = 4096;
const BATCHES_IN_FLIGHT = 2;
/** Sources told apart; those with the most tokens come first. */
const MOST_SOURCES = 100;

/** Measures an SAE on text through the model that it belongs to. @returns Undefined when there is no text to measure on. */
export async function evaluate(plan: EvaluationPlan, weights: SaeWeights, peer: InferencePeer, context: StageContext): Promise<Evaluation | undefined> {
  const threads = availableParallelism();
  const encoder = await RowEncoder.open(weights, threads);
  try {
    const sums = await measureText(plan, encoder, peer, context);
    if (sums === undefined) return undefined;
    const similarity = await decoderSimilarity(weights, threads, { signal: context.signal });
    if (similarity !== undefined && similarity.nFeatures < weights.config.dSae) {
      context.warn(`decoder similarity was measured on ${similarity.nFeatures} of ${weights.config.dSae} features, evenly spread`);
    }
    return { all: sums.all.figures(), bySource: namedFigures(sums.bySource, context), decoderSimilarity: similarity };
  } finally {
    await encoder.close();
  }
}

interface TextSums {
  readonly all: Sums;
  readonly bySource: ReadonlyMap<string, Sums>;
}

async function measureText(plan: EvaluationPlan, encoder: RowEncoder, peer: InferencePeer, context: StageContext): Promise<TextSums | undefined> {
  const { codec } = encoder;
  const { config, wDec } = codec.sae;
  const widths = { dIn: config.dIn, dOut: wDec.length / config.dSae };
  const lengths = encoder.directionLengths();
  const bySource = new Map<string, Sums>();
  let shift: Float64Array | undefined;
  let all: Sums | undefined;
  const measured = inFlight(windowBatches(plan, peer, context.signal), BATCHES_IN_FLIGHT, (batch) => measure(batch, plan, widths, peer));
  for await (const { windows, rows, wanted, scores } of measured) {
    shift ??= meanOf(wanted.values, wanted.width);
    all ??= new Sums(shift, lengths);
    const codes = await encoder.encode(rows.values);
    const reconstruction = codec.decodeRows(codes, codes.stats);
    let row = 0;
    for (const [at, { window, source }] of windows.entries()) {
      const own = bySource.get(source) ?? new Sums(shift, lengths);
      bySource.set(source, own);
      for (const sums of [all, own]) {
        for (let position = 0; position < window.ids.length; position += 1) {
          if (window.special[position] === 0) sums.reconstruction.add(wanted.values, reconstruction, row + position, codes, row + position);
        }
        const score = scores?.[at];
        if (score !== undefined) sums.losses.add(score, window.special);
      }
      row += window.ids.length;
    }
    context.progress({ stage: "evaluate", doneUnits: all.reconstruction.rows, totalUnits: Math.max(plan.text.tokens, all.reconstruction.rows), unit: "tokens" });
  }
  return all === undefined || all.reconstruction.rows === 0 ? undefined : { all, bySource };
}

class Sums {
  readonly reconstruction: ReconstructionSums;
  readonly losses = new LossSums();

  constructor(shift: Float64Array, lengths: Float32Array) {
    this.reconstruction = new ReconstructionSums(shift, lengths);
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

interface Widths {
  readonly dIn: number;
  readonly dOut: number;
}

interface MeasuredBatch {
  readonly windows: readonly SourcedWindow[];
  readonly rows: HookRows;
  /** What the reconstruction is held against; the same rows unless the SAE is a transcoder. */
  readonly wanted: HookRows;
  readonly scores: readonly ScoredSequence[] | undefined;
}

async function measure(windows: readonly SourcedWindow[], plan: EvaluationPlan, widths: Widths, peer: InferencePeer): Promise<MeasuredBatch> {
  const sequences = windows.map(({ window }) => window);
  const input = { hookName: plan.hookName, width: widths.dIn };
  const hooks = plan.hookNameOut === plan.hookName ? [input] : [input, { hookName: plan.hookNameOut, width: widths.dOut }];
  const [read, scores] = await Promise.all([hookRows(sequences, hooks, peer), plan.sae === undefined ? undefined : scoresOf(sequences, plan.sae, plan.hookName, widths.dIn, peer)]);
  const [rows, wanted = rows] = read;
  if (rows === undefined || wanted === undefined) throw new Error("Forward replied without rows");
  return { windows, rows, wanted, scores };
}

async function scoresOf(sequences: readonly Window[], sae: string, hookName: string, dIn: number, peer: InferencePeer): Promise<ScoredSequence[]> {
  const { spliced, zeroed } = await peer.score(sequences, { spliced: [splice(sae)], zeroed: [zeroAblation(hookName, dIn)] });
  return spliced.flatMap(({ logprobs, uneditedLogprobs, kl }, at) => {
    const zero = zeroed[at];
    return zero === undefined ? [] : { clean: uneditedLogprobs, sae: logprobs, zero: zero.logprobs, klSae: kl, klZero: zero.kl };
  });
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
