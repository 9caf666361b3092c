import { basename, resolve } from "node:path";
import { availableParallelism } from "node:os";
import { type EnginePrecision, type ExecutionProvider, executionProviders } from "@mistral-sae/model";
import { InputError } from "@mistral-sae/tensor";
import { enginePrecisions } from "./models/precision.ts";

/** A model to load at start. */
export interface ModelSource {
  /** Id in models/{model}. */
  readonly id: string;
  /** Folder in the Hugging Face layout. */
  readonly folder: string;
  /** Arithmetic; undefined leaves it to the folder. */
  readonly precision?: EnginePrecision | undefined;
}

/** Settings of the inference service. */
export interface InferenceConfig {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  /** Folder that this service owns. */
  readonly data: string;
  readonly models: readonly ModelSource[];
  /** Where quantised models are kept; default `quantised` in `data`. */
  readonly quantisedDir?: string | undefined;
  /** Threads of the matrix products. */
  readonly threads: number;
  /** Rows decoded in one batch. */
  readonly maxBatchRows: number;
  /** Generations that may wait for rows. */
  readonly maxQueued: number;
  /** Tokens that may wait, prompts and answers at their longest. */
  readonly maxQueuedTokens: number;
  /** Prompts of one Forward, Encode chunk or ScoreTokens. */
  readonly maxPrompts: number;
  /** Calls other than Generate that may use a model at a time. */
  readonly maxCalls: number;
  /** Memory for keys and values, MiB. */
  readonly cacheMib: number;
  /** Whether prompts share the keys and values that earlier ones have left, within `cacheMib`. */
  readonly prefixCache: boolean;
  /** Execution provider of onnxruntime that models run on. */
  readonly provider: ExecutionProvider;
  /** Tokens that one run of a model may decode; default the provider's. */
  readonly decodeSteps?: number | undefined;
  /** Longest context offered, whatever the model allows. */
  readonly maxContext: number;
  /** Deaths of an engine in ten minutes after which its model is left FAILED. */
  readonly maxRestarts: number;
  /** Wait before the second start in a row, milliseconds; doubled for each further one. */
  readonly restartDelayMs: number;
}

export const inferenceDefaults: InferenceConfig = {
  listen: "127.0.0.1:50051",
  data: ".mistral-sae/inference",
  models: [],
  threads: availableParallelism(),
  maxBatchRows: 64,
  maxQueued: 256,
  maxQueuedTokens: 1 << 20,
  maxPrompts: 4096,
  maxCalls: 64,
  cacheMib: 1024,
  prefixCache: true,
  provider: "cpu",
  maxContext: 4096,
  maxRestarts: 5,
  restartDelayMs: 1000,
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Settings from the environment. @throws InputError naming the variable. */
export function readConfig(env: Environment): InferenceConfig {
  const count = (name: string, fallback: number) => positiveInteger(env, name, fallback);
  return {
    listen: env["MISTRAL_SAE_LISTEN"] ?? inferenceDefaults.listen,
    data: env["MISTRAL_SAE_DATA"] ?? inferenceDefaults.data,
    models: readModels(env["MISTRAL_SAE_MODELS"] ?? ""),
    quantisedDir: env["MISTRAL_SAE_CACHE"],
    threads: count("MISTRAL_SAE_THREADS", inferenceDefaults.threads),
    maxBatchRows: count("MISTRAL_SAE_INFERENCE_MAX_BATCH_ROWS", inferenceDefaults.maxBatchRows),
    maxQueued: count("MISTRAL_SAE_INFERENCE_MAX_QUEUED", inferenceDefaults.maxQueued),
    maxQueuedTokens: count("MISTRAL_SAE_INFERENCE_MAX_QUEUED_TOKENS", inferenceDefaults.maxQueuedTokens),
    maxPrompts: count("MISTRAL_SAE_INFERENCE_MAX_PROMPTS", inferenceDefaults.maxPrompts),
    maxCalls: count("MISTRAL_SAE_INFERENCE_MAX_CALLS", inferenceDefaults.maxCalls),
    cacheMib: count("MISTRAL_SAE_INFERENCE_CACHE_MIB", inferenceDefaults.cacheMib),
    prefixCache: onOff(env, "MISTRAL_SAE_INFERENCE_PREFIX_CACHE", inferenceDefaults.prefixCache),
    provider: readProvider(env),
    ...(env["MISTRAL_SAE_INFERENCE_DECODE_STEPS"] === undefined ? {} : { decodeSteps: count("MISTRAL_SAE_INFERENCE_DECODE_STEPS", 1) }),
    maxContext: count("MISTRAL_SAE_INFERENCE_MAX_CONTEXT", inferenceDefaults.maxContext),
    maxRestarts: count("MISTRAL_SAE_INFERENCE_MAX_RESTARTS", inferenceDefaults.maxRestarts),
    restartDelayMs: count("MISTRAL_SAE_INFERENCE_RESTART_DELAY_MS", inferenceDefaults.restartDelayMs),
  };
}

function positiveInteger(env: Environment, name: string, fallback: number): number {
  const text = env[name];
  if (text === undefined || text === "") return fallback;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InputError(`${name} is no count`, { field: name, got: text, wanted: "a whole number of at least 1" });
  }
  return value;
}

function readProvider(env: Environment): ExecutionProvider {
  const name = "MISTRAL_SAE_INFERENCE_PROVIDER";
  const text = env[name];
  if (text === undefined || text === "") return inferenceDefaults.provider;
  const provider = executionProviders.find((known) => known === text);
  if (provider === undefined) throw new InputError(`${name} is no execution provider`, { field: name, got: text, wanted: executionProviders.join(", ") });
  return provider;
}

function onOff(env: Environment, name: string, fallback: boolean): boolean {
  const text = env[name];
  if (text === undefined || text === "") return fallback;
  if (text === "on" || text === "off") return text === "on";
  throw new InputError(`${name} is neither on nor off`, { field: name, got: text, wanted: "on or off" });
}

/** `id=folder` or `folder`, each with `@precision` behind it where it is not to be the folder's own; separated by commas or newlines. */
function readModels(text: string): ModelSource[] {
  const sources = text
    .split(/[\n,]/)
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "")
    .map((entry) => {
      const at = entry.indexOf("=");
      const place = at < 0 ? entry : entry.slice(at + 1);
      const precision = enginePrecisions.find((known) => place.endsWith(`@${known}`));
      const folder = resolve(precision === undefined ? place : place.slice(0, -(precision.length + 1)));
      return { id: at < 0 ? modelIdOf(folder) : entry.slice(0, at).trim(), folder, ...(precision === undefined ? {} : { precision }) };
    });
  for (const { id } of sources) {
    if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(id)) {
      throw new InputError("MISTRAL_SAE_MODELS names a model badly", {
        field: "MISTRAL_SAE_MODELS",
        got: id,
        wanted: "id=folder, the id 1 to 63 of a-z, 0-9 and -",
      });
    }
  }
  return sources;
}

/** The id that a folder's name gives. */
export function modelIdOf(folder: string): string {
  const id = basename(resolve(folder))
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, 63);
  return id === "" ? "model" : id;
}
