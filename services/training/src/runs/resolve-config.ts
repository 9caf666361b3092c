import { clone, create } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { BDecInit, Formulation, LrScheduler, Optimizer, TrainingConfigSchema, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { CorpusSourceSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { invalidArgument, unimplemented } from "@mistral-sae/rpc";
import { requireTrainingMemory, resolveTrainerConfig } from "@mistral-sae/sae";
import { DTYPE_BYTES, type FloatDType } from "@mistral-sae/tensor";
import { checkingConfig } from "./fields.ts";
import type { ModelFacts } from "./model-facts.ts";
import { trainerOptions } from "./trainer-config.ts";

/** What the service decides where a request does not. */
export interface ConfigDefaults {
  readonly threads: number;
  /** Bytes of rows in a shuffle buffer. */
  readonly bufferBytes: number;
}

/** Tokens of a window where a request names none. */
export const CONTEXT_SIZE = 128;
const BATCH = 1024;
const CHECKPOINT_EVERY = 500;
const EVAL_TOKENS = 200_000n;

/** Architectures of SAELens that this service does not train yet. */
const LATER_ARCHITECTURES = new Set(["standard", "gated", "jumprelu", "batchtopk", "abstopk", "matryoshka_batchtopk", "transcoder", "skip_transcoder"]);
const LATER_NORMALIZATIONS = new Set(["covariance_whitening"]);
const NORMALIZATIONS = ["none", "layer_norm", "expected_average_only_in", "constant_norm_rescale"];

/**
 * The configuration with every default filled in, which alone decides the weights.
 * @throws RpcError INVALID_ARGUMENT naming the field, UNIMPLEMENTED for what SAELens knows and this does not.
 */
export async function resolveConfig(asked: TrainingConfig, model: ModelFacts, defaults: ConfigDefaults): Promise<TrainingConfig> {
  const config = clone(TrainingConfigSchema, asked);
  config.model = model.name;
  config.corpus ??= create(CorpusSourceSchema);
  config.architecture ||= "topk";
  config.contextSize ||= Math.min(CONTEXT_SIZE, model.nCtx);
  config.normalizeActivations ||= config.formulation === Formulation.SEED_COMPAT ? "layer_norm" : "expected_average_only_in";
  config.formulation ||= Formulation.GAO;
  config.trainBatchSizeTokens ||= BATCH;
  config.lrScheduler ||= LrScheduler.CONSTANT;
  config.optimizer ||= Optimizer.ADAM;
  config.bDecInitMethod ||= BDecInit.MEAN;
  config.activationDtype ||= DataType.BF16;
  config.checkpointEverySteps ||= CHECKPOINT_EVERY;
  config.threads ||= defaults.threads;
  config.evalTokens ??= EVAL_TOKENS;
  requireKnown(config);
  requireSizes(config, model);
  const rowBytes = model.width * DTYPE_BYTES[storedDType(config)];
  if (config.bufferTokens === 0n) config.bufferTokens = BigInt(Math.floor(defaults.bufferBytes / rowBytes));
  const trainer = await checkingConfig(undefined, () => {
    const resolved = resolveTrainerConfig(trainerOptions(config, model.width));
    requireTrainingMemory(resolved);
    return resolved;
  });
  config.lr = trainer.lr;
  config.kAux = trainer.kAux;
  config.auxLossCoefficient = trainer.auxLossCoefficient;
  config.deadFeatureWindowTokens ??= BigInt(trainer.deadFeatureWindowTokens);
  config.adamBeta1 = trainer.adamBeta1;
  config.adamBeta2 = trainer.adamBeta2;
  config.adamEpsilon = trainer.adamEpsilon;
  config.weightDecay = trainer.weightDecay;
  config.gradClipNorm = trainer.gradClipNorm;
  return config;
}

const STORED: Readonly<Partial<Record<DataType, FloatDType>>> = { [DataType.BF16]: "BF16", [DataType.F16]: "F16", [DataType.F32]: "F32" };

/** Element type in which activations are stored. @throws RpcError INVALID_ARGUMENT naming `field` on another. */
export function storedDType({ activationDtype }: Pick<TrainingConfig, "activationDtype">, field = "config.activation_dtype"): FloatDType {
  const dtype = STORED[activationDtype];
  if (dtype === undefined) throw invalidArgument(field, `got ${activationDtype}, wanted BF16, F16 or F32`);
  return dtype;
}

function requireKnown(config: TrainingConfig): void {
  const { architecture, normalizeActivations, optimizer, extra } = config;
  if (LATER_ARCHITECTURES.has(architecture)) throw unimplemented(`config.architecture: ${architecture} is not trained yet; topk is`);
  if (architecture !== "topk") throw invalidArgument("config.architecture", `got ${JSON.stringify(architecture)}, wanted topk`);
  if (LATER_NORMALIZATIONS.has(normalizeActivations)) throw unimplemented(`config.normalize_activations: ${normalizeActivations} is not trained with yet; ${NORMALIZATIONS.join(", ")} are`);
  if (!NORMALIZATIONS.includes(normalizeActivations)) throw invalidArgument("config.normalize_activations", `got ${JSON.stringify(normalizeActivations)}, wanted ${NORMALIZATIONS.join(", ")}`);
  if (optimizer === Optimizer.SIGNUM_SCHEDULE_FREE) throw unimplemented("config.optimizer: SIGNUM_SCHEDULE_FREE is not offered yet; ADAM and ADAMW are");
  const [extraName] = Object.keys(extra);
  if (extraName !== undefined) throw invalidArgument(`config.extra.${extraName}`, `topk takes no further numbers, got ${extra[extraName]}`);
}

function requireSizes(config: TrainingConfig, model: ModelFacts): void {
  const { contextSize, dSae, k, trainBatchSizeTokens, trainingTokens, evalTokens, corpus } = config;
  if ((corpus?.uri ?? "") === "") throw invalidArgument("config.corpus.uri", "got nothing, wanted a file, folder or glob");
  if (contextSize < 2 || contextSize > model.nCtx) throw invalidArgument("config.context_size", `got ${contextSize}, wanted 2 to ${model.nCtx}`);
  if (dSae < 1) throw invalidArgument("config.d_sae", `got ${dSae}, wanted at least 1`);
  if (k < 1 || k > dSae) throw invalidArgument("config.k", `got ${k}, wanted 1 to d_sae ${dSae}`);
  if (trainingTokens < BigInt(trainBatchSizeTokens)) throw invalidArgument("config.training_tokens", `got ${trainingTokens}, wanted at least one batch of ${trainBatchSizeTokens}`);
  for (const [field, value] of [["training_tokens", trainingTokens], ["seed", config.seed], ["buffer_tokens", config.bufferTokens], ["eval_tokens", evalTokens ?? 0n]] as const) {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument(`config.${field}`, `got ${value}, wanted at most ${Number.MAX_SAFE_INTEGER}`);
  }
}
