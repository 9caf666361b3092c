import { InputError } from "@mistral-sae/tensor";
import { availableParallelism } from "node:os";

/** `gao`: Gao et al. 2024 with AuxK in its correct form. `seed_compat`: the step of the original mistral-sae. */
export type Formulation = "gao" | "seed_compat";

/** How inputs are scaled before the SAE sees them; names and formulas are SAELens'. */
export type TrainedNormalization = "none" | "layer_norm" | "expected_average_only_in" | "constant_norm_rescale";

/** Shape of the decay to zero over the last steps. */
export type LrScheduler = "constant" | "linear" | "cosine";

/** Where b_dec starts. */
export type BDecInitMethod = "mean" | "geometric_median" | "zeros";

/** What a trainer must be told. Every other number has a default: {@link trainerDefaults} and {@link resolveTrainerConfig}. */
export interface TrainerConfig {
  /** Columns of an input row. */
  readonly dIn: number;
  /** Width of the SAE. */
  readonly dSae: number;
  /** Features a row. */
  readonly k: number;
  /** Rows of all steps together; the schedule ends there. */
  readonly trainingTokens: number;
  readonly formulation?: Formulation | undefined;
  readonly normalizeActivations?: TrainedNormalization | undefined;
  /** Rows of a step. */
  readonly trainBatchSizeTokens?: number | undefined;
  /** Default 2e-4 / √(dSae / 2¹⁴). */
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
  readonly adamBeta1?: number | undefined;
  readonly adamBeta2?: number | undefined;
  readonly adamEpsilon?: number | undefined;
  /** Decoupled (AdamW). Default 0; seed_compat 0.01. */
  readonly weightDecay?: number | undefined;
  /** Clip the gradient of all parameters to this norm; 0 never clips. */
  readonly gradClipNorm?: number | undefined;
  readonly bDecInitMethod?: BDecInitMethod | undefined;
  /** Factor of the mean squared error. Default 1 / variance of the sample; seed_compat 1/19.9776. */
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

type Decided = "trainBatchSizeTokens" | "formulation" | "normalizeActivations" | "lrScheduler" | "lrWarmUpSteps" | "lrDecaySteps" | "auxLossCoefficient" | "deadFeatureWindowTokens" | "adamBeta1" | "adamBeta2" | "adamEpsilon" | "gradClipNorm" | "bDecInitMethod" | "seed" | "batchSlots" | "rowStoreBytes";

/** Values of what a configuration leaves open and what does not depend on the rest of it. */
export const trainerDefaults = {
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
  bDecInitMethod: "mean",
  seed: 0,
  batchSlots: 2,
  rowStoreBytes: 0,
} as const satisfies Pick<TrainerConfig, Decided>;

/** Rows that the original's dead rule takes for a step. */
const seedRowsPerStep = 256;
/** The original's mean squared error is divided by this. */
const seedVariance = 19.9776;
/** More threads than this gain nothing: the dense part belongs to onnxruntime. */
export const largestThreads = 64;

type Undecided = "mseScale" | "deadSteps" | "maxMemoryBytes";
type Given<T> = { readonly [Key in keyof T]-?: Exclude<T[Key], undefined> };

/** A configuration with every number decided. */
export interface ResolvedTrainerConfig extends Given<Omit<TrainerConfig, Undecided>> {
  readonly totalSteps: number;
  /** Undefined until the sample decides it. */
  readonly mseScale: number | undefined;
  readonly deadSteps: number | undefined;
  readonly maxMemoryBytes: number | undefined;
}

/** Decides and checks every number. Throws InputError naming the field, the value got and the value wanted. */
export function resolveTrainerConfig(config: TrainerConfig): ResolvedTrainerConfig {
  const given = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)) as unknown as TrainerConfig;
  const base = { ...trainerDefaults, ...given } as TrainerConfig & Given<Pick<TrainerConfig, Decided>>;
  const seedCompat = base.formulation === "seed_compat";
  const resolved: ResolvedTrainerConfig = {
    ...base,
    normalizeActivations: given.normalizeActivations ?? (seedCompat ? "layer_norm" : trainerDefaults.normalizeActivations),
    lr: base.lr ?? 2e-4 / Math.sqrt(base.dSae / 2 ** 14),
    kAux: Math.min(base.dSae, base.kAux ?? (seedCompat ? base.dIn >> 1 : Math.min(256, base.dIn >> 1))),
    weightDecay: base.weightDecay ?? (seedCompat ? 0.01 : 0),
    mseScale: base.mseScale ?? (seedCompat ? 1 / seedVariance : undefined),
    deadSteps: seedCompat ? (base.deadSteps ?? base.deadFeatureWindowTokens / seedRowsPerStep) : base.deadSteps,
    threads: base.threads ?? Math.min(largestThreads, availableParallelism()),
    maxMemoryBytes: base.maxMemoryBytes,
    totalSteps: Math.floor(base.trainingTokens / base.trainBatchSizeTokens),
  };
  check(resolved);
  return resolved;
}

function check(config: ResolvedTrainerConfig): void {
  const { dIn, dSae, k, trainBatchSizeTokens: batch, formulation } = config;
  integer("dIn", dIn, 2);
  integer("dSae", dSae, 1);
  integer("k", k, 1, dSae);
  integer("trainBatchSizeTokens", batch, 1);
  integer("kAux", config.kAux, 0, dSae);
  integer("lrWarmUpSteps", config.lrWarmUpSteps, 0);
  integer("lrDecaySteps", config.lrDecaySteps, 0);
  integer("threads", config.threads, 1, largestThreads);
  integer("batchSlots", config.batchSlots, 1);
  integer("rowStoreBytes", config.rowStoreBytes, 0);
  integer("seed", config.seed, 0, Number.MAX_SAFE_INTEGER);
  oneOf("formulation", formulation, ["gao", "seed_compat"]);
  oneOf("normalizeActivations", config.normalizeActivations, ["none", "layer_norm", "expected_average_only_in", "constant_norm_rescale"]);
  oneOf("lrScheduler", config.lrScheduler, ["constant", "linear", "cosine"]);
  oneOf("bDecInitMethod", config.bDecInitMethod, ["mean", "geometric_median", "zeros"]);
  number("trainingTokens", config.trainingTokens, batch);
  number("lr", config.lr, 0);
  number("auxLossCoefficient", config.auxLossCoefficient, 0);
  number("deadFeatureWindowTokens", config.deadFeatureWindowTokens, 1);
  number("adamBeta1", config.adamBeta1, 0, 0.999999999);
  number("adamBeta2", config.adamBeta2, 0, 0.999999999);
  number("adamEpsilon", config.adamEpsilon, 0);
  number("weightDecay", config.weightDecay, 0);
  number("gradClipNorm", config.gradClipNorm, 0);
  if (config.mseScale !== undefined) number("mseScale", config.mseScale, 0);
  if (config.deadSteps !== undefined) number("deadSteps", config.deadSteps, 0);
  if (config.maxMemoryBytes !== undefined) number("maxMemoryBytes", config.maxMemoryBytes, 1);
  if (formulation === "seed_compat") {
    if (config.normalizeActivations !== "layer_norm") throw new InputError("seed_compat trains on layer-normalised rows", { field: "normalizeActivations", got: config.normalizeActivations, wanted: "layer_norm" });
  } else if (config.deadSteps !== undefined) {
    throw new InputError("the dead rule counts steps in seed_compat only; give deadFeatureWindowTokens", { field: "deadSteps", got: config.deadSteps, wanted: "nothing" });
  }
  if (config.lrWarmUpSteps + config.lrDecaySteps > config.totalSteps) {
    throw new InputError("warm-up and decay are longer than the run", { field: "lrDecaySteps", got: config.lrWarmUpSteps + config.lrDecaySteps, wanted: `at most ${config.totalSteps} steps together` });
  }
}

function integer(field: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (!Number.isSafeInteger(value)) throw new InputError(`${field} is not a whole number`, { field, got: value, wanted: `${least} or more` });
  number(field, value, least, most);
}

function number(field: string, value: number, least: number, most = Number.MAX_VALUE): void {
  if (value >= least && value <= most) return;
  const wanted = most >= Number.MAX_SAFE_INTEGER ? `at least ${least}` : `${least} to ${most}`;
  throw new InputError(`${field} is out of range`, { field, got: value, wanted });
}

function oneOf(field: string, value: string, names: readonly string[]): void {
  if (!names.includes(value)) throw new InputError(`${field} is not known`, { field, got: value, wanted: names.join(", ") });
}
