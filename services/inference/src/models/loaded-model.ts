import { join } from "node:path";
import { type Engine, type EnginePrecision, type ExecutionProvider, openEngine, type OpenEngineOptions } from "@mistral-sae/model";
import { unavailable } from "@mistral-sae/rpc";
import { loadTokenizer, type Tokenizer } from "@mistral-sae/tokenizer";
import { type GenerationDefaults, readGenerationDefaults } from "../generation/defaults.ts";
import { Scheduler } from "../generation/scheduler.ts";
import type { PromptReader } from "../wire/prompt.ts";
import { CallGate } from "./call-gate.ts";

/** How models are loaded. */
export interface LoadLimits {
  readonly threads: number;
  readonly maxBatchRows: number;
  readonly maxQueued: number;
  readonly maxQueuedTokens: number;
  readonly maxCalls: number;
  readonly cacheMib: number;
  readonly maxContext: number;
  readonly provider: ExecutionProvider;
  readonly decodeSteps?: number | undefined;
  readonly prefixCache: boolean;
  /** Folder that the service owns. */
  readonly data: string;
  /** Where quantised models are kept; default `quantised` in `data`. */
  readonly quantisedDir?: string | undefined;
}

/** What is asked of one model. */
export interface OpenModelOptions {
  /** Arithmetic; default that of the folder. */
  readonly precision?: EnginePrecision | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Told how far quantising has come, in bytes of the weights. */
  readonly onQuantise?: ((done: number, total: number) => void) | undefined;
}

/** Opens an engine; the product's is openEngine. */
export type EngineOpener = (options: OpenEngineOptions) => Promise<Engine>;

/** When a call that met a dead engine may come back. */
const RESTART_RETRY_MS = 2000;

/** A model that can be used. */
export interface LoadedModel {
  /** models/{model}. */
  readonly name: string;
  readonly uri: string;
  readonly engine: Engine;
  readonly tokenizer: Tokenizer;
  readonly defaults: GenerationDefaults;
  readonly scheduler: Scheduler;
  readonly gate: CallGate;
  /** Ids of all special tokens. */
  readonly specialIds: readonly number[];
  /** Reads prompts for it. */
  readonly reader: PromptReader;
  /** What an error means to a caller: UNAVAILABLE when the engine has died under it. */
  explain(error: unknown): unknown;
}

/** Opens a model folder. @throws InputError for a folder that holds no model this program runs. */
export async function openModel(name: string, folder: string, limits: LoadLimits, open: EngineOpener = openEngine, { precision, signal, onQuantise }: OpenModelOptions = {}): Promise<LoadedModel> {
  const [tokenizer, defaults] = await Promise.all([loadTokenizer(folder), readGenerationDefaults(folder)]);
  signal?.throwIfAborted();
  const engine = await open({
    modelDir: folder,
    threads: limits.threads,
    maxBatchRows: limits.maxBatchRows,
    maxContext: limits.maxContext,
    provider: limits.provider,
    ...(limits.decodeSteps === undefined ? {} : { decodeSteps: limits.decodeSteps }),
    cacheBytes: limits.cacheMib * 2 ** 20,
    quantisedDir: limits.quantisedDir ?? join(limits.data, "quantised"),
    ...(precision === undefined ? {} : { precision }),
    ...(onQuantise === undefined ? {} : { onQuantise }),
    ...(signal === undefined ? {} : { signal }),
  });
  const died = (reason: string) => unavailable("BACKEND_DOWN", `${name}: the engine has ended (${reason}); it is started again, try again later`, RESTART_RETRY_MS);
  const explain = (error: unknown) => (error instanceof Error && error.name === "EngineEndedError" ? died(error.message) : error);
  const scheduler = new Scheduler(name, engine, { maxRows: limits.maxBatchRows, maxQueued: limits.maxQueued, maxQueuedTokens: limits.maxQueuedTokens, prefixCache: limits.prefixCache }, explain);
  void engine.closed.then((error) => scheduler.close(died(error?.message ?? "it was closed")));
  return {
    name,
    uri: folder,
    engine,
    tokenizer,
    defaults,
    scheduler,
    gate: new CallGate(limits.maxCalls),
    specialIds: tokenizer.vocabulary.specialIds(),
    reader: { tokenizer, dVocab: engine.info.dVocab, nCtx: engine.info.nCtx },
    explain,
  };
}
