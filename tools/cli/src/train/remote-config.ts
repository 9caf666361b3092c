import type { MessageInitShape } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { BDecInitSchema, FormulationSchema, LrSchedulerSchema, OptimizerSchema, type TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { enumValue } from "../enums.ts";
import { badInput } from "../output.ts";
import { corpusUri, userPath } from "../paths.ts";
import { modelName, resourceName } from "../resources.ts";
import { architectureFacts } from "@mistral-sae/sae";
import { architectureOptions } from "./architecture-options.ts";
import type { TrainOptions } from "./train-options.ts";

const dataTypes = { f32: DataType.F32, f16: DataType.F16, bf16: DataType.BF16 } as const;

/** The training service's configuration from the options; what is absent is left to the service. `varied` are fields that a sweep fills in. */
export function remoteConfig(options: TrainOptions, varied: readonly string[] = []): MessageInitShape<typeof TrainingConfigSchema> {
  const required = <T>(field: string, value: T | undefined, what: string, none: T): T => {
    if (value === undefined && varied.includes(field.slice(2).replaceAll("-", "_"))) return none;
    if (value === undefined) throw badInput(`training on text needs ${what}`, { field, wanted: what, hint: "to train on rows from a file, give --activations" });
    return value;
  };
  const ready = options.activationSet !== undefined;
  if (options.corpus === undefined && !ready && !varied.includes("corpus")) {
    throw badInput("nothing to train on", { field: "--corpus", wanted: "text (--corpus), rows that the service holds (--activation-set), or rows from files (--activations)" });
  }
  const batch = options.batchTokens ?? 1024;
  const tokens = options.steps === undefined ? options.trainingTokens : options.steps * batch;
  const given = {
    lr: options.lr,
    kAux: options.kAux,
    auxLossCoefficient: options.auxLossCoefficient,
    deadFeatureWindowTokens: options.deadTokens === undefined ? undefined : BigInt(Math.ceil(options.deadTokens)),
    adamBeta1: options.adamBeta1,
    adamBeta2: options.adamBeta2,
    adamEpsilon: options.adamEpsilon,
    weightDecay: options.weightDecay,
    gradClipNorm: options.gradClipNorm,
    formulation: options.formulation === undefined ? undefined : enumValue(FormulationSchema, options.formulation, "--formulation"),
    lrScheduler: options.lrScheduler === undefined ? undefined : enumValue(LrSchedulerSchema, options.lrScheduler, "--lr-scheduler"),
    optimizer: options.optimizer === undefined ? undefined : enumValue(OptimizerSchema, options.optimizer, "--optimizer"),
    bDecInitMethod: options.bDecInitMethod === undefined ? undefined : enumValue(BDecInitSchema, options.bDecInitMethod, "--b-dec-init-method"),
    activationDtype: options.activationDtype === undefined ? undefined : dataTypes[options.activationDtype],
    evalCorpus: options.evalCorpus === undefined ? undefined : { uri: corpusUri(options.evalCorpus) },
    evalTokens: options.evalTokens === undefined ? undefined : BigInt(options.evalTokens),
  };
  const { matryoshkaWidths, ...ofArchitecture } = architectureOptions(options);
  return {
    ...ofArchitecture,
    matryoshkaWidths: [...(matryoshkaWidths ?? [])],
    hookNameOut: options.hookNameOut ?? "",
    streamActivations: options.streamActivations ?? false,
    activationDiskBytes: BigInt(options.activationDiskBytes ?? 0),
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    model: modelName(options.model),
    hookName: ready ? (options.hookName ?? "") : required("--hook-name", options.hookName, "the hook to train at", ""),
    ...(ready && options.corpus === undefined ? {} : { corpus: { uri: corpusUri(options.corpus ?? []) } }),
    activations: readyRows(options.activationSet),
    activationsOut: readyRows(options.activationSetOut),
    contextSize: options.contextSize ?? 0,
    dSae: required("--d-sae", options.dSae, "the width of the SAE", 0),
    architecture: options.architecture ?? "",
    k: countsFeatures(options, varied) ? required("--k", options.k, "the features a row", 0) : (options.k ?? 0),
    normalizeActivations: options.normalizeActivations ?? "",
    trainBatchSizeTokens: options.batchTokens ?? 0,
    trainingTokens: BigInt(tokens ?? 0),
    lrWarmUpSteps: options.lrWarmUpSteps ?? 0,
    lrDecaySteps: options.lrDecaySteps ?? 0,
    seed: BigInt(options.seed ?? 0),
    bufferTokens: BigInt(options.bufferTokens ?? 0),
    checkpointEverySteps: options.checkpointEvery ?? 0,
    threads: options.threads ?? 0,
    initFrom: options.initFrom === undefined ? "" : userPath(options.initFrom),
  };
}

/** A set of the service by its name or id, or a path of files that the service reads. */
function readyRows(given: string | undefined): string {
  if (given === undefined) return "";
  return /[/.*]/.test(given) && !given.startsWith("activationSets/") ? userPath(given) : resourceName("activationSets", given);
}

/** Whether k has to be given; where the architecture is varied that is left to the service. */
function countsFeatures({ architecture = "topk" }: TrainOptions, varied: readonly string[]): boolean {
  return !varied.includes("architecture") && architectureFacts[architecture].k !== "none";
}
