import type { MessageInitShape } from "@bufbuild/protobuf";
import { BatchStream, type RowFile } from "@mistral-sae/activations";
import type { TrainingMetricsSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { failedPrecondition } from "@mistral-sae/rpc";
import { HybridTrainer, loadSae, NonFiniteError, restoreNewestCheckpoint, writeCheckpoint, writeSae, type Checkpoint, type TrainerConfig, type TrainerMetrics } from "@mistral-sae/sae";
import type { StageContext } from "../threads/stage-thread.ts";
import { EarlyWarnings, startOfWatch, type WatchState } from "./early-warnings.ts";

/** What to train on which rows, and where to. */
export interface TrainPlan {
  readonly config: TrainerConfig;
  readonly rows: readonly RowFile[];
  /** Rows of the shuffle buffer. */
  readonly bufferRows: number;
  readonly checkpointEverySteps: number;
  readonly checkpoints: string;
  /** SAELens folder to start from. */
  readonly initFrom: string | undefined;
  /** SAELens folder to write. */
  readonly saeFolder: string;
  /** Metadata of its cfg.json. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What training tells the service beside its progress. */
export type TrainEvent =
  | { readonly kind: "starts-after"; readonly step: number }
  | { readonly kind: "metrics"; readonly metrics: readonly MessageInitShape<typeof TrainingMetricsSchema>[] };

export interface Trained {
  readonly steps: number;
  readonly weightsSha256: string;
}

/** What is kept beside the trainer's state in each checkpoint. */
interface CheckpointExtra {
  /** Rows of the stream served before it. */
  readonly rowsServed: number;
  readonly watch: WatchState;
}

/** Rows from which the trainer learns the data's mean, scale and variance. */
const SAMPLE_ROWS = 32_768;
/** A run is described by about this many points. */
const METRIC_POINTS = 2000;
const PROGRESS_MS = 200;

/**
 * Trains from the newest whole checkpoint, or from the start, to the last step and writes the SAE. The rows, their
 * order and the starting point follow from the plan alone, so that a run that was interrupted at any instant ends
 * with the same bytes as one that was not. A stop saves a checkpoint first.
 * @throws RpcError TRAINING_NOT_FINITE when a step has no finite loss; the checkpoints before it stay.
 */
export async function train(plan: TrainPlan, context: StageContext<TrainEvent>): Promise<Trained> {
  const { trainBatchSizeTokens: batchRows = 1024, trainingTokens, seed = 0 } = plan.config;
  const steps = Math.floor(trainingTokens / batchRows);
  const stream = { batchRows, seed: BigInt(seed), bufferRows: plan.bufferRows };
  const sample = await readSample(plan.rows, stream, Math.min(SAMPLE_ROWS, steps * batchRows));
  const weights = plan.initFrom === undefined ? undefined : (await loadSae(plan.initFrom)).sae;
  await using trainer = await HybridTrainer.create(plan.config, { sample, weights });
  const from = await restoreNewestCheckpoint(plan.checkpoints, trainer);
  context.event({ kind: "starts-after", step: trainer.stepsDone });
  await using batches = new BatchStream(plan.rows, { ...stream, startRow: extraOf(from)?.rowsServed ?? 0 });
  const warnings = new EarlyWarnings(extraOf(from)?.watch ?? startOfWatch, (text) => context.warn(text));
  const loop = new TrainLoop(trainer, batches, steps, warnings, context);
  const save = async (): Promise<void> => {
    const extra: CheckpointExtra = { rowsServed: batches.cursor.rowsServed, watch: warnings.state };
    await writeCheckpoint(plan.checkpoints, trainer, { extra: { ...extra, cursor: batches.cursor } });
  };
  while (trainer.stepsDone < steps) {
    const next = Math.min(steps, (Math.floor(trainer.stepsDone / plan.checkpointEverySteps) + 1) * plan.checkpointEverySteps);
    await loop.runTo(next);
    if (trainer.stepsDone !== extraStep(from)) await save();
    context.signal.throwIfAborted();
  }
  const written = await writeSae(plan.saeFolder, await trainer.weights(plan.metadata));
  return { steps, weightsSha256: written.weightsSha256 };
}

/** The first rows of the stream: in shuffled order, a fair sample. They are trained on like all others. */
async function readSample(rows: readonly RowFile[], stream: { readonly batchRows: number; readonly seed: bigint; readonly bufferRows: number }, count: number): Promise<Float32Array> {
  await using batches = new BatchStream(rows, stream);
  const sample = new Float32Array(Math.ceil(count / batches.batchRows) * batches.batchRows * batches.width);
  for (let at = 0; at < sample.length; at += batches.batchRows * batches.width) sample.set(await batches.takeAsync(), at);
  return sample;
}

function extraOf(checkpoint: Checkpoint | undefined): CheckpointExtra | undefined {
  return checkpoint?.extra as CheckpointExtra | undefined;
}

function extraStep(checkpoint: Checkpoint | undefined): number {
  return checkpoint?.step ?? 0;
}

/** Steps with one batch ahead, so that copying and loading run beside computing. */
class TrainLoop {
  readonly #trainer: HybridTrainer;
  readonly #batches: BatchStream;
  readonly #steps: number;
  readonly #every: number;
  readonly #warnings: EarlyWarnings;
  readonly #context: StageContext<TrainEvent>;
  #told = performance.now();
  #toldStep: number;
  #toldWaitedMs = 0;
  #kept: TrainerMetrics[] = [];

  constructor(trainer: HybridTrainer, batches: BatchStream, steps: number, warnings: EarlyWarnings, context: StageContext<TrainEvent>) {
    this.#trainer = trainer;
    this.#batches = batches;
    this.#steps = steps;
    this.#every = Math.max(1, Math.floor(steps / METRIC_POINTS));
    this.#warnings = warnings;
    this.#context = context;
    this.#toldStep = trainer.stepsDone;
    this.#tell();
  }

  /** Runs up to step `last`, or to the step under way when the run is stopped. */
  async runTo(last: number): Promise<void> {
    let ahead: Promise<TrainerMetrics> | undefined;
    for (let step = this.#trainer.stepsDone; step < last && !this.#context.signal.aborted; step += 1) {
      const next = this.#trainer.step(await this.#batches.takeAsync());
      // A failure surfaces where the step is awaited.
      next.catch(() => undefined);
      if (ahead !== undefined) this.#finished(await this.#finite(ahead));
      ahead = next;
    }
    if (ahead !== undefined) this.#finished(await this.#finite(ahead));
    this.#tell();
  }

  async #finite(step: Promise<TrainerMetrics>): Promise<TrainerMetrics> {
    try {
      return await step;
    } catch (error) {
      if (!(error instanceof NonFiniteError)) throw error;
      throw failedPrecondition("TRAINING_NOT_FINITE", `${error.message}; the checkpoints before it are kept`, { step: String(error.step), tensor: error.tensor });
    }
  }

  #finished(metrics: TrainerMetrics): void {
    this.#warnings.observe(metrics);
    const { step } = metrics;
    if (step === 1 || step % this.#every === 0 || step === this.#steps) this.#kept.push(metrics);
    if (performance.now() - this.#told >= PROGRESS_MS) this.#tell();
  }

  /** Reports progress and the metrics kept since the last report. */
  #tell(): void {
    const now = performance.now();
    const step = this.#trainer.stepsDone;
    const seconds = (now - this.#told) / 1000;
    const tokensPerSecond = seconds > 0 ? ((step - this.#toldStep) * this.#batches.batchRows) / seconds : 0;
    const bufferWaitShare = seconds > 0 ? Math.min(1, (this.#batches.waitedMs - this.#toldWaitedMs) / 1000 / seconds) : 0;
    if (this.#kept.length > 0) this.#context.event({ kind: "metrics", metrics: this.#kept.map((kept) => metricsMessage(kept, tokensPerSecond, bufferWaitShare)) });
    this.#context.progress({ stage: "train", doneUnits: step, totalUnits: this.#steps, unit: "steps" });
    this.#kept = [];
    this.#told = now;
    this.#toldStep = step;
    this.#toldWaitedMs = this.#batches.waitedMs;
  }
}

function metricsMessage(metrics: TrainerMetrics, tokensPerSecond: number, bufferWaitShare: number): MessageInitShape<typeof TrainingMetricsSchema> {
  const { step, nTrainingTokens, loss, mseLoss, auxLoss, fvu, l0, deadFraction, gradNorm, lr } = metrics;
  return { step: BigInt(step), nTrainingTokens: BigInt(nTrainingTokens), loss, mseLoss, auxLoss, fvu, l0, deadFraction, gradNorm, lr, tokensPerSecond, bufferWaitShare };
}
