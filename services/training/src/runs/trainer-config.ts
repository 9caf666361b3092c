import { BDecInit, Formulation, LrScheduler, Optimizer, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import {
  type BDecInitMethod,
  type Formulation as FormulationName,
  type JumpreluSparsityLossMode,
  type LrScheduler as LrSchedulerName,
  type Optimizer as OptimizerName,
  type TrainedArchitecture,
  type TrainedNormalization,
  type TrainerConfig,
} from "@mistral-sae/sae";
import type { ModelFacts } from "./model-facts.ts";

const FORMULATIONS: Readonly<Partial<Record<Formulation, FormulationName>>> = { [Formulation.GAO]: "gao", [Formulation.SEED_COMPAT]: "seed_compat" };
const SCHEDULERS: Readonly<Partial<Record<LrScheduler, LrSchedulerName>>> = { [LrScheduler.CONSTANT]: "constant", [LrScheduler.LINEAR]: "linear", [LrScheduler.COSINE]: "cosine" };
const OPTIMIZERS: Readonly<Partial<Record<Optimizer, OptimizerName>>> = { [Optimizer.ADAM]: "adam", [Optimizer.ADAMW]: "adam", [Optimizer.SIGNUM_SCHEDULE_FREE]: "signum_schedule_free" };
const CENTERS: Readonly<Partial<Record<BDecInit, BDecInitMethod>>> = { [BDecInit.MEAN]: "mean", [BDecInit.GEOMETRIC_MEDIAN]: "geometric_median", [BDecInit.ZEROS]: "zeros" };
/** AdamW's decay where the request names none, as in PyTorch. */
const ADAMW_DECAY = 0.01;

/** Widths of the rows that a run reads. */
export type RowWidths = Pick<ModelFacts, "width" | "out">;

/** The trainer's form of a run's configuration. What a request leaves open (0, false or nothing) is absent. */
export function trainerOptions(config: TrainingConfig, { width, out }: RowWidths): TrainerConfig {
  return {
    architecture: config.architecture as TrainedArchitecture,
    dIn: width,
    dOut: out?.width,
    skipConnection: config.skipConnection || undefined,
    dSae: config.dSae,
    k: config.k || undefined,
    kStart: config.kStart || undefined,
    kAnnealSteps: config.kAnnealSteps || undefined,
    matryoshkaWidths: config.matryoshkaWidths.length === 0 ? undefined : config.matryoshkaWidths,
    topkThresholdLr: config.topkThresholdLr,
    l1Coefficient: config.l1Coefficient,
    l1WarmUpSteps: config.l1WarmUpSteps || undefined,
    lpNorm: config.lpNorm,
    l0Coefficient: config.l0Coefficient,
    l0WarmUpSteps: config.l0WarmUpSteps || undefined,
    jumpreluInitThreshold: config.jumpreluInitThreshold,
    jumpreluBandwidth: config.jumpreluBandwidth,
    jumpreluSparsityLossMode: (config.jumpreluSparsityLossMode || undefined) as JumpreluSparsityLossMode | undefined,
    jumpreluTanhScale: config.jumpreluTanhScale,
    jumpreluSteToInput: config.jumpreluSteToInput || undefined,
    preActLossCoefficient: config.preActLossCoefficient,
    decoderInitNorm: config.decoderInitNorm,
    resampleEverySteps: config.resampleEverySteps || undefined,
    mseScale: config.mseScale,
    trainingTokens: Number(config.trainingTokens),
    formulation: FORMULATIONS[config.formulation],
    normalizeActivations: config.normalizeActivations as TrainedNormalization,
    trainBatchSizeTokens: config.trainBatchSizeTokens,
    lr: config.lr,
    lrScheduler: SCHEDULERS[config.lrScheduler],
    lrWarmUpSteps: config.lrWarmUpSteps,
    lrDecaySteps: config.lrDecaySteps,
    kAux: config.kAux,
    auxLossCoefficient: config.auxLossCoefficient,
    deadFeatureWindowTokens: config.deadFeatureWindowTokens === undefined ? undefined : Number(config.deadFeatureWindowTokens),
    optimizer: OPTIMIZERS[config.optimizer],
    adamBeta1: config.adamBeta1,
    adamBeta2: config.adamBeta2,
    adamEpsilon: config.adamEpsilon,
    weightDecay: config.weightDecay ?? (config.optimizer === Optimizer.ADAMW ? ADAMW_DECAY : undefined),
    gradClipNorm: config.gradClipNorm,
    bDecInitMethod: CENTERS[config.bDecInitMethod],
    seed: Number(config.seed),
    threads: config.threads,
  };
}
