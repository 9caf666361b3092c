import { architectureFacts, isDense } from "./architecture.ts";
import { codesOf } from "./codes.ts";
import type { ResolvedTrainerConfig, TrainedNormalization } from "./config.ts";
import { DenseEncoder } from "./dense-encoder.ts";
import { TrainerEncoder } from "./encoder.ts";
import { requireFiniteGradient } from "./finite.ts";
import { gaoGradients } from "./gao-step.ts";
import { KernelTeam } from "./kernel-team.ts";
import { updateWeights } from "./optimise.ts";
import { Arg, InputMode } from "./phases.ts";
import { learningRate } from "./schedule.ts";
import { seedGradients } from "./seed-step.ts";
import type { StepEngine } from "./step-engine.ts";
import { type StepContext, sumThreadRows } from "./step-context.ts";
import type { TrainerMemory } from "./trainer-memory.ts";
import type { TrainerMetrics } from "./trainer-port.ts";
import { Whitener } from "./whitener.ts";

const inputModes: Readonly<Record<TrainedNormalization, number>> = {
  none: InputMode.none,
  expected_average_only_in: InputMode.scale,
  layer_norm: InputMode.layer_norm,
  constant_norm_rescale: InputMode.constant_norm_rescale,
  covariance_whitening: InputMode.none,
};

/** Runs training steps on the calling thread and its kernel threads: dense products in onnxruntime, everything sparse in the kernels. */
export class TrainingEngine implements StepEngine, AsyncDisposable {
  readonly stepsPerRun = 1;
  readonly #context: StepContext;
  readonly #whitener: Whitener | undefined;

  private constructor(context: StepContext, whitener: Whitener | undefined) {
    this.#context = context;
    this.#whitener = whitener;
  }

  /** Takes a memory that holds initial or restored weights. */
  static async start(config: ResolvedTrainerConfig, memory: TrainerMemory): Promise<TrainingEngine> {
    const { shared, layout } = memory;
    const team = await KernelTeam.start(layout, shared.memory, shared.module);
    const encoder = await TrainerEncoder.create(layout, shared.memory);
    const dense = isDense(config.architecture) ? await DenseEncoder.create(layout, shared.memory) : undefined;
    return new TrainingEngine({ config, memory, team, encoder, dense, codes: codesOf(config, memory, team, encoder, dense) }, layout.whitens ? await Whitener.create(memory) : undefined);
  }

  async steps(slots: readonly number[]): Promise<TrainerMetrics[]> {
    const done: TrainerMetrics[] = [];
    for (const slot of slots) done.push(await this.step(slot));
    return done;
  }

  /** Trains on the rows in a batch slot. Throws NonFiniteError, before any weight changes, when loss or gradient are not finite. */
  async step(slot: number): Promise<TrainerMetrics> {
    const context = this.#context;
    const { config, memory, codes } = context;
    const { batch, h } = memory.layout;
    const lr = learningRate(memory.step, config);
    const variance = await this.#prepare(slot);
    const seedCompat = config.formulation === "seed_compat";
    const { mseLoss, innerLoss, auxLoss, errorSquares, entries, numDead, squares } = await (seedCompat ? seedGradients(context) : gaoGradients(context));
    requireFiniteGradient(context, squares);
    const gradNorm = Math.sqrt(squares);
    updateWeights(context, lr, gradNorm);
    memory.flipSince();
    if (codes.smallest !== undefined) memory.topkThreshold = (1 - config.topkThresholdLr) * memory.topkThreshold + config.topkThresholdLr * codes.smallest;
    memory.step += 1;
    return {
      step: memory.step,
      nTrainingTokens: memory.step * batch,
      loss: mseLoss + innerLoss + auxLoss,
      mseLoss,
      auxLoss,
      sparsityLoss: 0,
      fvu: variance > 0 ? errorSquares / variance : 0,
      l0: entries / batch,
      numDead,
      deadFraction: numDead / h,
      gradNorm,
      lr,
      topkThreshold: architectureFacts[config.architecture].k === "batch" ? memory.topkThreshold : undefined,
      nResampled: 0,
    };
  }

  async close(): Promise<void> {
    await this.#context.team.close();
    await this.#context.encoder.close();
    await this.#whitener?.close();
    await this.#context.dense?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Normalises and centres the batch; returns Σ‖x - x̄‖² of the rows that the loss compares with. */
  async #prepare(slot: number): Promise<number> {
    const { config, memory, team } = this.#context;
    const { at, slots, batch, d } = memory.layout;
    const { args } = team;
    const raw = config.formulation === "seed_compat" || config.normalizeActivations === "none";
    await this.#whitener?.run(slot);
    args[Arg.slot] = this.#whitener === undefined ? slots[slot]! : at.target;
    args[Arg.target] = raw ? slots[slot]! : at.target;
    args[Arg.mode] = inputModes[config.normalizeActivations];
    args[Arg.inputScale] = memory.inputScale;
    args[Arg.unitRows] = config.formulation === "gao" ? 1 : 0;
    const squares = team.run("prepare");
    let ofMean = 0;
    for (const sum of sumThreadRows(this.#context, "sums", new Float64Array(d))) ofMean += sum * sum;
    return squares - ofMean / batch;
  }
}
