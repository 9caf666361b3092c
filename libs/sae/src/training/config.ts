import { availableParallelism } from "node:os";
import { architectureFacts, type TrainedArchitecture } from "./architecture.ts";
import { checkConfig, checkOptions, largestThreads } from "./check-config.ts";

/** `gao`: Gao et al. 2024 with AuxK in its correct form. `seed_compat`: the step of the original mistral-sae. */
export type Formulation = "gao" | "seed_compat";

/** How inputs are scaled before the SAE sees them; names and formulas are SAELens'. */
export type TrainedNormalization = "none" | "layer_norm" | "expected_average_only_in" | "constant_norm_rescale" | "covariance_whitening";

/** `adam` is AdamW with a weight decay of 0; `signum_schedule_free`: sign of the momentum, schedule-free averaging (Defazio et al. 2024). */
export type Optimizer = "adam" | "signum_schedule_free";

/** jumprelu: `step` counts features with a rectangle kernel (Rajamanoharan et al. 2024), `tanh` is Anthropic's (Conerly et al. 2025). */
export type JumpreluSparsityLossMode = "step" | "tanh";

/** Shape of the decay to zero over the last steps. */
export type LrScheduler = "constant" | "linear" | "cosine";

/** Where b_dec starts. */
export type BDecInitMethod = "mean" | "geometric_median" | "zeros";

/** What a trainer must be told. Every other number has a default: {@link trainerDefaults} and {@link resolveTrainerConfig}. */
export interface TrainerConfig {
  /** Default topk. */
  readonly architecture?: TrainedArchitecture | undefined;
  /** Columns of an input row. */
  readonly dIn: number;
  /**
   * Columns of an output row: given, the SAE is a transcoder. Its training rows have d_in + d_out columns, input then output; nothing
   * is subtracted from the input, and b_dec belongs to the output.
   */
  readonly dOut?: number | undefined;
  /** Transcoders: learn W_skip [d_out, d_in] too. */
  readonly skipConnection?: boolean | undefined;
  /** Width of the SAE. */
  readonly dSae: number;
  /** Features a row (topk, abstopk) or a mean row (batchtopk, matryoshka_batchtopk); the others take none. */
  readonly k?: number | undefined;
  /** Features at the first step, falling linearly to k over {@link kAnnealSteps}. Default k. */
  readonly kStart?: number | undefined;
  readonly kAnnealSteps?: number | undefined;
  /** matryoshka_batchtopk: rising widths of the nested levels; dSae is added at the end. */
  readonly matryoshkaWidths?: readonly number[] | undefined;
  /** batchtopk, matryoshka_batchtopk: rate of the moving average of the smallest kept value, the threshold for inference. */
  readonly topkThresholdLr?: number | undefined;
  /** standard, gated: weight of Σ|z_f|·‖W_dec[f]‖, mean over rows. */
  readonly l1Coefficient?: number | undefined;
  /** Steps over which l1Coefficient grows from 0. */
  readonly l1WarmUpSteps?: number | undefined;
  /** standard: p of the sparsity norm. */
  readonly lpNorm?: number | undefined;
  /** jumprelu: weight of the sparsity loss, mean over rows. */
  readonly l0Coefficient?: number | undefined;
  readonly l0WarmUpSteps?: number | undefined;
  readonly jumpreluInitThreshold?: number | undefined;
  /** Width of the rectangle kernel of the straight-through estimator, in units of the pre-activations. */
  readonly jumpreluBandwidth?: number | undefined;
  readonly jumpreluSparsityLossMode?: JumpreluSparsityLossMode | undefined;
  readonly jumpreluTanhScale?: number | undefined;
  /** Pass the estimator's gradient to the pre-activations too (Anthropic), not to the threshold alone (DeepMind). */
  readonly jumpreluSteToInput?: boolean | undefined;
  /** jumprelu: weight of the loss on the pre-activations of dead latents; 0 is none. */
  readonly preActLossCoefficient?: number | undefined;
  /**
   * standard, gated, jumprelu: norm of decoder rows at the start. SAELens has 0.1; 0.3 has a lower FVU at a lower L0 (on the demo model
   * standard 0.267 at 15.0 against 0.276 at 18.1 after 512k rows, 0.217 at 7.7 against 0.221 at 8.7 after 1.5M; larger ones leave dead latents).
   */
  readonly decoderInitNorm?: number | undefined;
  /** Steps between resamplings of dead latents; 0 is never. */
  readonly resampleEverySteps?: number | undefined;
  readonly optimizer?: Optimizer | undefined;
  /** Rows of all steps together; the schedule ends there. */
  readonly trainingTokens: number;
  readonly formulation?: Formulation | undefined;
  readonly normalizeActivations?: TrainedNormalization | undefined;
  /** Rows of a step. */
  readonly trainBatchSizeTokens?: number | undefined;
  /** Default 2e-4 / √(dSae / 2¹⁴); signum_schedule_free 5e-3 / √(dSae / 2¹⁴), as in sparsify. */
  readonly lr?: number | undefined;
  readonly lrScheduler?: LrScheduler | undefined;
  /** Steps of linear warm-up. */
  readonly lrWarmUpSteps?: number | undefined;
  /** Last steps, over which the rate falls to zero: linearly, or as a cosine with that scheduler. 0 with linear or cosine: all steps after the warm-up. */
  readonly lrDecaySteps?: number | undefined;
  /** Dead latents in the auxiliary reconstruction, 0 for none. Default min(256, dIn / 2); seed_compat dIn / 2. */
  readonly kAux?: number | undefined;
  readonly auxLossCoefficient?: number | undefined;
  /** A latent is dead after this many rows without firing; seed_compat turns them into steps of 256 rows, whatever the batch, as the original does. */
  readonly deadFeatureWindowTokens?: number | undefined;
  /** seed_compat only: the dead rule in steps, in place of deadFeatureWindowTokens. */
  readonly deadSteps?: number | undefined;
  /** Default 0.9. signum_schedule_free: weight of the average in the point where gradients are taken, default 0.95 as in sparsify. */
  readonly adamBeta1?: number | undefined;
  readonly adamBeta2?: number | undefined;
  readonly adamEpsilon?: number | undefined;
  /** Decoupled (AdamW). Default 0; seed_compat 0.01. */
  readonly weightDecay?: number | undefined;
  /** Clip the gradient of all parameters to this norm; 0 never clips. */
  readonly gradClipNorm?: number | undefined;
  /**
   * Default mean; zeros for penalised architectures, as in SAELens: their encoder then learns its thresholds along the data's mean long
   * before b_enc, and reaches a lower FVU at a lower L0 (on the demo model standard 0.276 at 18.1 against 0.308 at 23.0 after 512k rows).
   */
  readonly bDecInitMethod?: BDecInitMethod | undefined;
  /** Factor of the mean squared error over all values. Default 1 / variance of the sample, d_out for penalised architectures (SAELens' sum over columns); seed_compat 1/19.9776. */
  readonly mseScale?: number | undefined;
  /** Seed of the initial weights. */
  readonly seed?: number | undefined;
  /** Threads that compute, at most {@link largestThreads}. Weights are bit-identical at equal threads. Default: all cores. */
  readonly threads?: number | undefined;
  /** Batches that may be filled while one is trained on. */
  readonly batchSlots?: number | undefined;
  /** Bytes of the trainer's memory set aside for a loader's stored rows (see BatchWriter). */
  readonly rowStoreBytes?: number | undefined;
  /** The trainer refuses to start when it needs more than this. Default: the machine's memory. */
  readonly maxMemoryBytes?: number | undefined;
}

type Decided = "architecture" | "skipConnection" | "kAnnealSteps" | "matryoshkaWidths" | "topkThresholdLr" | "l1Coefficient" | "l1WarmUpSteps" | "lpNorm" | "l0Coefficient" | "l0WarmUpSteps" | "jumpreluInitThreshold" | "jumpreluBandwidth" | "jumpreluSparsityLossMode" | "jumpreluTanhScale" | "jumpreluSteToInput" | "preActLossCoefficient" | "decoderInitNorm" | "resampleEverySteps" | "optimizer" | "trainBatchSizeTokens" | "formulation" | "normalizeActivations" | "lrScheduler" | "lrWarmUpSteps" | "lrDecaySteps" | "auxLossCoefficient" | "deadFeatureWindowTokens" | "adamBeta1" | "adamBeta2" | "adamEpsilon" | "gradClipNorm" | "seed" | "batchSlots" | "rowStoreBytes";

/** Values of what a configuration leaves open and what does not depend on the rest of it. */
export const trainerDefaults = {
  architecture: "topk",
  skipConnection: false,
  kAnnealSteps: 0,
  matryoshkaWidths: [],
  topkThresholdLr: 0.01,
  l1Coefficient: 1,
  l1WarmUpSteps: 0,
  lpNorm: 1,
  l0Coefficient: 1,
  l0WarmUpSteps: 0,
  jumpreluInitThreshold: 0.01,
  jumpreluBandwidth: 0.05,
  jumpreluSparsityLossMode: "step",
  jumpreluTanhScale: 4,
  jumpreluSteToInput: false,
  preActLossCoefficient: 0,
  decoderInitNorm: 0.3,
  resampleEverySteps: 0,
  optimizer: "adam",
  formulation: "gao",
  normalizeActivations: "expected_average_only_in",
  trainBatchSizeTokens: 1024,
  lrScheduler: "constant",
  lrWarmUpSteps: 0,
  lrDecaySteps: 0,
  auxLossCoefficient: 1 / 32,
  deadFeatureWindowTokens: 10_000_000,
  adamBeta1: 0.9,
  adamBeta2: 0.999,
  adamEpsilon: 6.25e-10,
  gradClipNorm: 1,
  seed: 0,
  batchSlots: 2,
  rowStoreBytes: 0,
} as const satisfies Pick<TrainerConfig, Decided>;

/** Rows that the original's dead rule takes for a step. */
const seedRowsPerStep = 256;
/** The original's mean squared error is divided by this. */
const seedVariance = 19.9776;

type Undecided = "mseScale" | "deadSteps" | "maxMemoryBytes";
type Given<T> = { readonly [Key in keyof T]-?: Exclude<T[Key], undefined> };

/** A configuration with every number decided. */
export interface ResolvedTrainerConfig extends Given<Omit<TrainerConfig, Undecided>> {
  readonly totalSteps: number;
  /** Whether outputs are rows of their own. */
  readonly transcoder: boolean;
  /** Undefined until the sample decides it. */
  readonly mseScale: number | undefined;
  readonly deadSteps: number | undefined;
  readonly maxMemoryBytes: number | undefined;
}

/** Decides and checks every number. Throws InputError naming the field, the value got and the value wanted. */
export function resolveTrainerConfig(config: TrainerConfig): ResolvedTrainerConfig {
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)) as unknown as TrainerConfig;
  const base = { ...trainerDefaults, ...given } as TrainerConfig & Given<Pick<TrainerConfig, Decided>>;
  checkOptions(base.architecture, given);
  const { sparsity, k: counts } = architectureFacts[base.architecture];
  const seedCompat = base.formulation === "seed_compat";
  const selected = sparsity === "selected";
  const signum = base.optimizer === "signum_schedule_free";
  const dOut = base.dOut ?? base.dIn;
  const k = counts === "none" ? 0 : (base.k ?? 0);
  const { matryoshkaWidths: widths } = base;
  const resolved: ResolvedTrainerConfig = {
    ...base,
    k,
    kStart: base.kStart ?? k,
    dOut,
    transcoder: base.dOut !== undefined,
    matryoshkaWidths: base.architecture === "matryoshka_batchtopk" && widths.at(-1) !== base.dSae ? [...widths, base.dSae] : widths,
    normalizeActivations: given.normalizeActivations ?? (seedCompat ? "layer_norm" : trainerDefaults.normalizeActivations),
    lr: base.lr ?? (signum ? 5e-3 : 2e-4) / Math.sqrt(base.dSae / 2 ** 14),
    adamBeta1: given.adamBeta1 ?? (signum ? 0.95 : trainerDefaults.adamBeta1),
    kAux: selected ? Math.min(base.dSae, base.kAux ?? (seedCompat ? base.dIn >> 1 : Math.min(256, base.dIn >> 1))) : 0,
    weightDecay: base.weightDecay ?? (seedCompat ? 0.01 : 0),
    bDecInitMethod: base.bDecInitMethod ?? (selected ? "mean" : "zeros"),
    mseScale: base.mseScale ?? (seedCompat ? 1 / seedVariance : selected ? undefined : dOut),
    deadSteps: seedCompat ? (base.deadSteps ?? base.deadFeatureWindowTokens / seedRowsPerStep) : base.deadSteps,
    threads: base.threads ?? Math.min(largestThreads, availableParallelism()),
    maxMemoryBytes: base.maxMemoryBytes,
    totalSteps: Math.floor(base.trainingTokens / base.trainBatchSizeTokens),
  };
  checkConfig(resolved);
  return resolved;
}
