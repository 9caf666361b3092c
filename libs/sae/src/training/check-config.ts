import { InputError } from "@mistral-sae/tensor";
import { architectureFacts, type ArchitectureOption, optionsOf, type TrainedArchitecture, TRAINED_ARCHITECTURES } from "./architecture.ts";
import type { ResolvedTrainerConfig, TrainerConfig } from "./config.ts";

/** More threads than this gain nothing: the dense part belongs to onnxruntime. */
export const largestThreads = 64;
/** What has to be above 0. */
const smallest = Number.MIN_VALUE;

/** Refuses options that this kind of SAE does not have, and the lack of k. Throws InputError naming the field. */
export function checkOptions(architecture: TrainedArchitecture, given: TrainerConfig): void {
  oneOf("architecture", architecture, TRAINED_ARCHITECTURES);
  for (const name of Object.keys(optionsOf) as ArchitectureOption[]) {
    const takers: readonly string[] = optionsOf[name];
    if (given[name] !== undefined && !takers.includes(architecture)) {
      throw new InputError(`${architecture} takes no ${name}`, { field: name, got: String(given[name]), wanted: `nothing, or one of ${takers.join(", ")}` });
    }
  }
  if (given.k === undefined && architectureFacts[architecture].k !== "none") throw new InputError(`${architecture} needs k`, { field: "k", got: "nothing", wanted: `1 to ${given.dSae}` });
}

/** Refuses what is not trained yet. */
function requireBuilt(config: ResolvedTrainerConfig): void {
  const later: readonly (readonly [string, unknown, unknown])[] = [
    ["skipConnection", config.skipConnection && config.architecture === "gated", false],
    ["resampleEverySteps", config.transcoder && config.resampleEverySteps > 0, false],
  ];
  for (const [field, got, wanted] of later) if (got !== wanted) throw new InputError(`${field}: this is not trained yet`, { field, got: String(got), wanted: String(wanted) });
}

function checkWidths({ architecture, matryoshkaWidths: widths, dSae }: ResolvedTrainerConfig): void {
  if (architecture !== "matryoshka_batchtopk") return;
  const rising = widths.every((width, at) => Number.isSafeInteger(width) && width > (widths[at - 1] ?? 0));
  if (widths.length < 2 || !rising || widths.at(-1) !== dSae) {
    throw new InputError("matryoshka levels are rising widths below d_sae", { field: "matryoshkaWidths", got: widths.join(", "), wanted: `at least one below ${dSae}` });
  }
}

/** Refuses numbers out of range and combinations that make no sense. Throws InputError naming the field. */
export function checkConfig(config: ResolvedTrainerConfig): void {
  const { dIn, dSae, k, trainBatchSizeTokens: batch, formulation, architecture } = config;
  integer("dIn", dIn, 2);
  integer("dSae", dSae, 1);
  integer("dOut", config.dOut, 2);
  const counted = architectureFacts[architecture].k !== "none";
  if (counted) {
    integer("k", k, 1, dSae);
    integer("kStart", config.kStart, k, dSae);
    integer("kAnnealSteps", config.kAnnealSteps, 0);
  }
  checkWidths(config);
  for (const name of ["l1WarmUpSteps", "l0WarmUpSteps", "resampleEverySteps"] as const) integer(name, config[name], 0);
  for (const name of ["l1Coefficient", "l0Coefficient", "jumpreluInitThreshold", "preActLossCoefficient"] as const) number(name, config[name], 0);
  for (const name of ["lpNorm", "jumpreluBandwidth", "jumpreluTanhScale", "decoderInitNorm"] as const) number(name, config[name], smallest);
  number("topkThresholdLr", config.topkThresholdLr, 0, 1);
  integer("trainBatchSizeTokens", batch, 1);
  integer("kAux", config.kAux, 0, dSae);
  integer("lrWarmUpSteps", config.lrWarmUpSteps, 0);
  integer("lrDecaySteps", config.lrDecaySteps, 0);
  integer("threads", config.threads, 1, largestThreads);
  integer("batchSlots", config.batchSlots, 1);
  integer("rowStoreBytes", config.rowStoreBytes, 0);
  integer("seed", config.seed, 0, Number.MAX_SAFE_INTEGER);
  oneOf("formulation", formulation, ["gao", "seed_compat"]);
  oneOf("normalizeActivations", config.normalizeActivations, ["none", "layer_norm", "expected_average_only_in", "constant_norm_rescale", "covariance_whitening"]);
  oneOf("optimizer", config.optimizer, ["adam", "signum_schedule_free"]);
  oneOf("jumpreluSparsityLossMode", config.jumpreluSparsityLossMode, ["step", "tanh"]);
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
  if (config.transcoder && config.normalizeActivations !== "none" && config.normalizeActivations !== "expected_average_only_in") {
    throw new InputError("a transcoder's output has no statistics of its input to be scaled back with", { field: "normalizeActivations", got: config.normalizeActivations, wanted: "none or expected_average_only_in" });
  }
  if (config.skipConnection && !config.transcoder) throw new InputError("only a transcoder has a skip connection", { field: "skipConnection", got: true, wanted: "false, or dOut" });
  if (formulation === "seed_compat") {
    if (architecture !== "topk" || config.transcoder) throw new InputError("seed_compat trains the original's topk SAE", { field: "architecture", got: config.transcoder ? "a transcoder" : architecture, wanted: "topk" });
    if (config.resampleEverySteps > 0) throw new InputError("the original does not resample dead latents", { field: "resampleEverySteps", got: config.resampleEverySteps, wanted: 0 });
    if (config.optimizer !== "adam") throw new InputError("seed_compat trains with AdamW", { field: "optimizer", got: config.optimizer, wanted: "adam" });
    if (config.normalizeActivations !== "layer_norm") throw new InputError("seed_compat trains on layer-normalised rows", { field: "normalizeActivations", got: config.normalizeActivations, wanted: "layer_norm" });
  } else if (config.deadSteps !== undefined) {
    throw new InputError("the dead rule counts steps in seed_compat only; give deadFeatureWindowTokens", { field: "deadSteps", got: config.deadSteps, wanted: "nothing" });
  }
  if (config.optimizer !== "adam" && config.resampleEverySteps > 0) throw new InputError("resampling restarts Adam's moments; schedule-free averages have none", { field: "resampleEverySteps", got: config.resampleEverySteps, wanted: "0, or adam" });
  if (config.transcoder && config.normalizeActivations === "covariance_whitening") throw new InputError("a transcoder's rows are not whitened: its output is no input", { field: "normalizeActivations", got: config.normalizeActivations, wanted: "another, or an SAE" });
  requireBuilt(config);
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
