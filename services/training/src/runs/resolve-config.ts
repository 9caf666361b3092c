import { clone, create } from "@bufbuild/protobuf";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { Formulation, LrScheduler, Optimizer, TrainingConfigSchema, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { CorpusSourceSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import { invalidArgument } from "@mistral-sae/rpc";
import { requireTrainable, resolveTrainerConfig, type TrainingProvider } from "@mistral-sae/sae";
import { DTYPE_BYTES, type FloatDType } from "@mistral-sae/tensor";
import { resolveStream } from "../harvest/stream-options.ts";
import { shardTokensOf } from "../jobs/harvest-stage.ts";
import { checkingConfig } from "./fields.ts";
import { fillDefaults } from "./fill-defaults.ts";
import type { ModelFacts } from "./model-facts.ts";
import { requireWritable } from "./require-writable.ts";
import { trainerOptions } from "./trainer-config.ts";

/** What the service decides where a request does not. */
export interface ConfigDefaults {
  readonly threads: number;
  /** What trainings run on; the CPU where nothing is said. */
  readonly provider?: TrainingProvider | undefined;
  /** Bytes of rows in a shuffle buffer. */
  readonly bufferBytes: number;
  /** Bytes of an activation shard's rows, about. */
  readonly shardBytes: number;
}

/** Tokens of a window where a request names none. */
export const CONTEXT_SIZE = 128;
const BATCH = 1024;
const CHECKPOINT_EVERY = 500;
const EVAL_TOKENS = 200_000n;

/**
 * The configuration with every default filled in, which alone decides the weights.
 * @throws RpcError INVALID_ARGUMENT naming the field.
 */
export async function resolveConfig(asked: TrainingConfig, model: ModelFacts, defaults: ConfigDefaults): Promise<TrainingConfig> {
  const config = clone(TrainingConfigSchema, asked);
  config.model = model.name;
  config.hookName = model.hookName;
  config.hookNameOut = model.out?.hookName ?? "";
  config.corpus ??= create(CorpusSourceSchema);
  config.architecture ||= "topk";
  config.contextSize ||= Math.min(CONTEXT_SIZE, model.nCtx);
  config.normalizeActivations ||= config.formulation === Formulation.SEED_COMPAT ? "layer_norm" : "expected_average_only_in";
  config.formulation ||= Formulation.GAO;
  config.trainBatchSizeTokens ||= BATCH;
  config.lrScheduler ||= LrScheduler.CONSTANT;
  config.optimizer ||= Optimizer.ADAM;
  config.activationDtype ||= DataType.BF16;
  config.checkpointEverySteps ||= CHECKPOINT_EVERY;
  config.threads ||= defaults.threads;
  config.evalTokens ??= EVAL_TOKENS;
  requireKnown(config);
  requireSizes(config, model);
  const dtype = storedDType(config);
  const rowBytes = (model.width + (model.out?.width ?? 0)) * DTYPE_BYTES[dtype];
  resolveStream(config, model, dtype, shardTokensOf(model.dModel, dtype, defaults.shardBytes), BigInt(Math.floor(defaults.bufferBytes / rowBytes)));
  const trainer = await checkingConfig(undefined, () => {
    const resolved = resolveTrainerConfig(trainerOptions(config, model));
    requireTrainable(resolved, defaults.provider);
    return resolved;
  });
  fillDefaults(config, trainer);
  requireWritable(config, model);
  return config;
}

const STORED: Readonly<Partial<Record<DataType, FloatDType>>> = { [DataType.BF16]: "BF16", [DataType.F16]: "F16", [DataType.F32]: "F32" };

/** Element type in which activations are stored. @throws RpcError INVALID_ARGUMENT naming `field` on another. */
export function storedDType({ activationDtype }: Pick<TrainingConfig, "activationDtype">, field = "config.activation_dtype"): FloatDType {
  const dtype = STORED[activationDtype];
  if (dtype === undefined) throw invalidArgument(field, `got ${activationDtype}, wanted BF16, F16 or F32`);
  return dtype;
}

function requireKnown({ extra, activations, activationsOut, corpus, streamActivations, activationDiskBytes }: TrainingConfig): void {
  const [extraName] = Object.keys(extra);
  if (extraName !== undefined) throw invalidArgument(`config.extra.${extraName}`, `got ${extra[extraName]}, wanted nothing: each number has a field of its own`);
  if (activations === "") {
    if (activationsOut !== "") throw invalidArgument("config.activations_out", `got ${JSON.stringify(activationsOut)} without activations, wanted both, or nothing`);
    return;
  }
  // Ready rows have no text, and nothing harvests them.
  if (corpus?.uri) throw invalidArgument("config.corpus.uri", `got ${JSON.stringify(corpus.uri)}, wanted nothing beside activations; name text to evaluate on in eval_corpus`);
  if (streamActivations || activationDiskBytes > 0n) throw invalidArgument(streamActivations ? "config.stream_activations" : "config.activation_disk_bytes", "got a value, wanted nothing beside activations, which are ready");
}

function requireSizes(config: TrainingConfig, model: ModelFacts): void {
  const { contextSize, dSae, trainBatchSizeTokens, trainingTokens, evalTokens, corpus } = config;
  const ready = config.activations !== "";
  if (!ready && (corpus?.uri ?? "") === "") throw invalidArgument("config.corpus.uri", "got nothing, wanted a file, folder or glob");
  if (!ready && (contextSize < 2 || contextSize > model.nCtx)) throw invalidArgument("config.context_size", `got ${contextSize}, wanted 2 to ${model.nCtx}`);
  if (dSae < 1) throw invalidArgument("config.d_sae", `got ${dSae}, wanted at least 1`);
  if (trainingTokens < BigInt(trainBatchSizeTokens)) throw invalidArgument("config.training_tokens", `got ${trainingTokens}, wanted at least one batch of ${trainBatchSizeTokens}`);
  for (const [field, value] of [["training_tokens", trainingTokens], ["seed", config.seed], ["buffer_tokens", config.bufferTokens], ["eval_tokens", evalTokens ?? 0n], ["activation_disk_bytes", config.activationDiskBytes]] as const) {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument(`config.${field}`, `got ${value}, wanted at most ${Number.MAX_SAFE_INTEGER}`);
  }
}
