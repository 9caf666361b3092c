import { architectureFacts, isSelected } from "./architecture.ts";
import type { ResolvedTrainerConfig, TrainedNormalization } from "./config.ts";
import { requireFiniteGradient } from "./finite.ts";
import type { GradientStep } from "./gradient-step.ts";
import { KernelTeam } from "./kernel-team.ts";
import { updateWeights } from "./optimise.ts";
import { PenalisedStep } from "./penalised-step.ts";
import { Arg, InputMode } from "./phases.ts";
import { isResampling, resampleDead } from "./resample.ts";
import { learningRate } from "./schedule.ts";
import { SelectedStep } from "./selected-step.ts";
import { SkipConnection } from "./skip-connection.ts";
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
  readonly #skip: SkipConnection | undefined;

  private constructor(parts: StepParts, step: GradientStep, whitener: Whitener | undefined, skip: SkipConnection | undefined) {
    this.#parts = parts;
    this.#step = step;
    this.#whitener = whitener;
    this.#skip = skip;
  }

  /** Takes a memory that holds initial or restored weights. */
  static async start(config: ResolvedTrainerConfig, memory: TrainerMemory): Promise<TrainingEngine> {
    const { shared, layout } = memory;
    const team = await KernelTeam.start(layout, shared.memory, shared.module);
    const parts: StepParts = { config, memory, team };
    const step = await (isSelected(config.architecture) ? SelectedStep : PenalisedStep).create(parts);
    const whitener = layout.whitens ? await Whitener.create(memory) : undefined;
    return new TrainingEngine(parts, step, whitener, layout.skips ? await SkipConnection.create(memory) : undefined);
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
    const { mseLoss, innerLoss, auxLoss, sparsityLoss, errorSquares, entries, numDead, squares: ofCodes } = await this.#step.gradients();
    const squares = ofCodes + ((await this.#skip?.backward()) ?? 0);
    requireFiniteGradient(parts, squares);
    const gradNorm = Math.sqrt(squares);
    updateWeights(parts, lr, gradNorm);
    this.#step.afterUpdate();
    memory.flipSince();
    memory.step += 1;
    const nResampled = numDead > 0 && isResampling(config, memory.step) ? resampleDead(parts, numDead) : 0;
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
      nResampled,
    };
  }

  async close(): Promise<void> {
    await this.#parts.team.close();
    await this.#step.close();
    await this.#whitener?.close();
    await this.#skip?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Normalises and centres the batch; returns Σ‖x - x̄‖² of the rows that the loss compares with. */
  async #prepare(slot: number): Promise<number> {
    const { config, memory, team } = this.#parts;
    const { at, slots, batch, dOut, transcoder } = memory.layout;
    const { args } = team;
    const raw = config.formulation === "seed_compat" || (config.normalizeActivations === "none" && !transcoder);
    await this.#whitener?.run(slot);
    args[Arg.slot] = this.#whitener === undefined ? slots[slot]! : at.target;
    args[Arg.target] = raw ? slots[slot]! : at.target;
    args[Arg.mode] = inputModes[config.normalizeActivations];
    args[Arg.inputScale] = memory.inputScale;
    args[Arg.outputScale] = memory.outputScale;
    const seedCompat = config.formulation === "seed_compat";
    args[Arg.unitRows] = !seedCompat && isSelected(config.architecture) ? 1 : 0;
    args[Arg.denseDecoder] = seedCompat ? 1 : 0;
    const squares = team.run(transcoder ? "preparePairs" : "prepare");
    let ofMean = 0;
    for (const sum of sumThreadRows(this.#parts, "sums", new Float64Array(dOut))) ofMean += sum * sum;
    if (this.#skip !== undefined) {
      await this.#skip.forward();
      args[Arg.target] = at.skipTarget;
    }
    return squares - ofMean / batch;
  }
}
