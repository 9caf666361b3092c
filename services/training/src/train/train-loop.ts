import type { MessageInitShape } from "@bufbuild/protobuf";
import type { TrainingMetricsSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import type { TrainerMetrics, TrainerPort } from "@mistral-sae/sae";
import type { StageContext } from "../threads/stage-thread.ts";
import type { EarlyWarnings } from "./early-warnings.ts";
import type { SampledBatches } from "./sampled-batches.ts";
import type { TrainEvent } from "./train.ts";

/** A run is described by about this many points. */
const METRIC_POINTS = 2000;
const PROGRESS_MS = 200;

/** Steps with as many batches ahead as the trainer has slots, so that copying and loading run beside computing. */
export class TrainLoop {
  readonly #trainer: TrainerPort;
  readonly #batches: SampledBatches;
  readonly #steps: number;
  readonly #every: number;
  readonly #warnings: EarlyWarnings;
  readonly #context: StageContext<TrainEvent>;
  readonly #pressed: (() => Promise<boolean>) | undefined;
  #told = performance.now();
  #toldStep: number;
  #toldWaitedMs = 0;
  #kept: TrainerMetrics[] = [];

  /** @param pressed Whether to stop where there is no batch to take, because somebody waits for a checkpoint. */
  constructor(trainer: TrainerPort, batches: SampledBatches, steps: number, warnings: EarlyWarnings, context: StageContext<TrainEvent>, pressed?: () => Promise<boolean>) {
    this.#trainer = trainer;
    this.#batches = batches;
    this.#steps = steps;
    this.#every = Math.max(1, Math.floor(steps / METRIC_POINTS));
    this.#warnings = warnings;
    this.#context = context;
    this.#pressed = pressed;
    this.#toldStep = trainer.stepsDone;
    this.#tell();
  }

  /** Runs up to step `last`, or to the step under way when the run is stopped or pressed. */
  async runTo(last: number): Promise<void> {
    const running: Promise<TrainerMetrics>[] = [];
    for (let step = this.#trainer.stepsDone; step < last && !this.#context.signal.aborted; step += 1) {
      const batch = await this.#take();
      if (batch === undefined) break;
      const next = this.#trainer.step(batch);
      // A failure surfaces where the step is awaited.
      next.catch(() => undefined);
      running.push(next);
      if (running.length >= this.#trainer.config.batchSlots) this.#finished(await running.shift()!);
    }
    for (const next of running) this.#finished(await next);
    this.#tell();
  }

  /** @returns Undefined when the run is stopped or pressed while there is no batch. */
  async #take(): Promise<Float32Array | undefined> {
    try {
      return await this.#batches.take(this.#context.signal, this.#pressed);
    } catch (error) {
      if (this.#context.signal.aborted) return undefined;
      throw error;
    }
  }

  #finished(metrics: TrainerMetrics): void {
    this.#warnings.observe(metrics);
    const { step, nResampled } = metrics;
    if (step === 1 || step % this.#every === 0 || step === this.#steps || nResampled > 0) this.#kept.push(metrics);
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
  const { numDead: _, step, nTrainingTokens, topkThreshold, ...figures } = metrics;
  return { ...figures, step: BigInt(step), nTrainingTokens: BigInt(nTrainingTokens), tokensPerSecond, bufferWaitShare, ...(topkThreshold === undefined ? {} : { topkThreshold }) };
}
