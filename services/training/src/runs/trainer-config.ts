import { BDecInit, Formulation, LrScheduler, Optimizer, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { type BDecInitMethod, type Formulation as FormulationName, type LrScheduler as LrSchedulerName, type TrainedNormalization, type TrainerConfig } from "@mistral-sae/sae";

const FORMULATIONS: Readonly<Partial<Record<Formulation, FormulationName>>> = { [Formulation.GAO]: "gao", [Formulation.SEED_COMPAT]: "seed_compat" };
const SCHEDULERS: Readonly<Partial<Record<LrScheduler, LrSchedulerName>>> = { [LrScheduler.CONSTANT]: "constant", [LrScheduler.LINEAR]: "linear", [LrScheduler.COSINE]: "cosine" };
const CENTERS: Readonly<Partial<Record<BDecInit, BDecInitMethod>>> = { [BDecInit.MEAN]: "mean", [BDecInit.GEOMETRIC_MEDIAN]: "geometric_median", [BDecInit.ZEROS]: "zeros" };
/** AdamW's decay where the request names none, as in PyTorch. */
const ADAMW_DECAY = 0.01;

/** The trainer's form of a run's configuration. */
export function trainerOptions(config: TrainingConfig, dIn: number): TrainerConfig {
  return {
    dIn,
    dSae: config.dSae,
    k: config.k,
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
