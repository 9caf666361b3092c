import { availableParallelism, totalmem } from "node:os";
import { trainingProviders, type TrainingProvider } from "@mistral-sae/sae";
import { InputError } from "@mistral-sae/tensor";

/** Settings of the training service. */
export interface TrainingServiceConfig {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** Folder that this service owns. */
  readonly data: string;
  /** Folder for finished SAEs where inference must find them on a volume of its own; empty keeps each beside its run. */
  readonly saes: string;
  /** host:port of the inference service. */
  readonly inference: string;
  /** host:port of the feature index, which keeps training metrics for SQL; empty sends none. */
  readonly featureIndex: string;
  /** Threads of a trainer. */
  readonly threads: number;
  /** Runs, evaluations and exports that are worked on at a time; the others wait. */
  readonly operationsInParallel: number;
  /** Memory for the rows of a shuffle buffer whose size no request names, MiB. */
  readonly bufferMib: number;
  /** Bytes of an activation shard's rows, about, MiB: large enough for the disk, small enough to lose little at a kill. */
  readonly shardMib: number;
  /** How long the inference service may be away before a run fails, seconds. */
  readonly patienceSeconds: number;
  /** What trainers compute on. */
  readonly provider: TrainingProvider;
  /** Most memory on disk for activations that runs share, MiB; 0 sets no limit. */
  readonly activationDiskMib: number;
}

export const trainingDefaults: TrainingServiceConfig = {
  listen: "127.0.0.1:50052",
  data: ".mistral-sae/training",
  saes: "",
  inference: "127.0.0.1:50051",
  featureIndex: "",
  threads: availableParallelism(),
  operationsInParallel: 1,
  // Fixed where memory allows, because the size decides the order of rows and with it the weights.
  bufferMib: Math.min(2048, Math.floor(totalmem() / 4 / (1 << 20))),
  shardMib: 24,
  patienceSeconds: 300,
  provider: "cpu",
  activationDiskMib: 0,
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Settings from the environment. @throws InputError naming the variable. */
export function readConfig(env: Environment): TrainingServiceConfig {
  const text = (name: string, fallback: string): string => (env[name] ?? "") || fallback;
  return {
    listen: text("MISTRAL_SAE_LISTEN", trainingDefaults.listen),
    data: text("MISTRAL_SAE_DATA", trainingDefaults.data),
    saes: text("MISTRAL_SAE_TRAINING_SAES", trainingDefaults.saes),
    inference: text("MISTRAL_SAE_INFERENCE", trainingDefaults.inference),
    featureIndex: text("MISTRAL_SAE_FEATURE_INDEX", trainingDefaults.featureIndex),
    threads: count(env, "MISTRAL_SAE_THREADS", trainingDefaults.threads),
    operationsInParallel: count(env, "MISTRAL_SAE_TRAINING_PARALLEL", trainingDefaults.operationsInParallel),
    bufferMib: count(env, "MISTRAL_SAE_TRAINING_BUFFER_MIB", trainingDefaults.bufferMib),
    shardMib: count(env, "MISTRAL_SAE_TRAINING_SHARD_MIB", trainingDefaults.shardMib),
    patienceSeconds: count(env, "MISTRAL_SAE_TRAINING_PATIENCE_SECONDS", trainingDefaults.patienceSeconds),
    provider: provider(text("MISTRAL_SAE_TRAINING_PROVIDER", trainingDefaults.provider)),
    activationDiskMib: count(env, "MISTRAL_SAE_TRAINING_ACTIVATION_DISK_MIB", trainingDefaults.activationDiskMib, 0),
  };
}

function provider(name: string): TrainingProvider {
  const found = trainingProviders.find((known) => known === name);
  if (found === undefined) throw new InputError("MISTRAL_SAE_TRAINING_PROVIDER is no provider", { field: "MISTRAL_SAE_TRAINING_PROVIDER", got: name, wanted: trainingProviders.join(" or ") });
  return found;
}

function count(env: Environment, name: string, fallback: number, least = 1): number {
  const text = env[name] ?? "";
  const value = text === "" ? fallback : Number(text);
  if (!Number.isSafeInteger(value) || value < least) throw new InputError(`${name} is no count`, { field: name, got: text, wanted: `a whole number of at least ${least}` });
  return value;
}
