import { architectureFacts, isSelected } from "./architecture.ts";
import type { ResolvedTrainerConfig, TrainedNormalization } from "./config.ts";
import { requireFiniteGradient } from "./finite.ts";
import type { GradientStep } from "./gradient-step.ts";
import { KernelTeam } from "./kernel-team.ts";
import { updateWeights } from "./optimise.ts";
import { latentVectorsOf } from "./penalised-state.ts";
import { PenalisedStep } from "./penalised-step.ts";
import { Arg, InputMode } from "./phases.ts";
import { learningRate } from "./schedule.ts";
import { SelectedStep } from "./selected-step.ts";
import type { StepEngine } from "./step-engine.ts";
import { type StepParts, sumThreadRows } from "./step-context.ts";
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
  readonly #parts: StepParts;
  readonly #step: GradientStep;
  readonly #whitener: Whitener | undefined;

  private constructor(parts: StepParts, step: GradientStep, whitener: Whitener | undefined) {
    this.#parts = parts;
    this.#step = step;
    this.#whitener = whitener;
  }

  /** Takes a memory that holds initial or restored weights. */
  static async start(config: ResolvedTrainerConfig, memory: TrainerMemory): Promise<TrainingEngine> {
    const { shared, layout } = memory;
    const team = await KernelTeam.start(layout, shared.memory, shared.module);
    const parts: StepParts = { config, memory, team };
    const step = await (isSelected(config.architecture) ? SelectedStep : PenalisedStep).create(parts);
    return new TrainingEngine(parts, step, layout.whitens ? await Whitener.create(memory) : undefined);
  }

  async steps(slots: readonly number[]): Promise<TrainerMetrics[]> {
    const done: TrainerMetrics[] = [];
    for (const slot of slots) done.push(await this.step(slot));
    return done;
  }

  /** Trains on the rows in a batch slot. Throws NonFiniteError, before any weight changes, when loss or gradient are not finite. */
  async step(slot: number): Promise<TrainerMetrics> {
    const parts = this.#parts;
    const { config, memory } = parts;
    const { batch, h } = memory.layout;
    const lr = learningRate(memory.step, config);
    const variance = await this.#prepare(slot);
    const { mseLoss, innerLoss, auxLoss, sparsityLoss, errorSquares, entries, numDead, squares } = await this.#step.gradients();
    requireFiniteGradient(parts, squares);
    const gradNorm = Math.sqrt(squares);
    updateWeights(parts, lr, gradNorm, latentVectorsOf(memory));
    this.#step.afterUpdate();
    memory.flipSince();
    memory.step += 1;
    return {
      step: memory.step,
      nTrainingTokens: memory.step * batch,
      loss: mseLoss + innerLoss + auxLoss + sparsityLoss,
      mseLoss,
      auxLoss,
      sparsityLoss,
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
    await this.#parts.team.close();
    await this.#step.close();
    await this.#whitener?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Normalises and centres the batch; returns Σ‖x - x̄‖² of the rows that the loss compares with. */
  async #prepare(slot: number): Promise<number> {
    const { config, memory, team } = this.#parts;
    const { at, slots, batch, d } = memory.layout;
    const { args } = team;
    const raw = config.formulation === "seed_compat" || config.normalizeActivations === "none";
    await this.#whitener?.run(slot);
    args[Arg.slot] = this.#whitener === undefined ? slots[slot]! : at.target;
    args[Arg.target] = raw ? slots[slot]! : at.target;
    args[Arg.mode] = inputModes[config.normalizeActivations];
    args[Arg.inputScale] = memory.inputScale;
    const seedCompat = config.formulation === "seed_compat";
    args[Arg.unitRows] = !seedCompat && isSelected(config.architecture) ? 1 : 0;
    args[Arg.denseDecoder] = seedCompat ? 1 : 0;
    const squares = team.run("prepare");
    let ofMean = 0;
    for (const sum of sumThreadRows(this.#parts, "sums", new Float64Array(d))) ofMean += sum * sum;
    return squares - ofMean / batch;
  }
}
