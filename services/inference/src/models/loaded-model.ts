import { availableParallelism } from "node:os";
import type { Engine } from "@mistral-sae/model";
import { openEngine } from "@mistral-sae/model";
import { RpcError, unavailable } from "@mistral-sae/rpc";
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
  readonly maxCalls: number;
  readonly cacheMib: number;
  readonly maxContext: number;
}

export const loadLimitDefaults: LoadLimits = {
  threads: availableParallelism(),
  maxBatchRows: 64,
  maxQueued: 256,
  maxCalls: 64,
  cacheMib: 1024,
  maxContext: 4096,
};

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
export async function openModel(name: string, folder: string, limits: LoadLimits, signal?: AbortSignal): Promise<LoadedModel> {
  const [tokenizer, defaults] = await Promise.all([loadTokenizer(folder), readGenerationDefaults(folder)]);
  signal?.throwIfAborted();
  const engine = await openEngine({
    modelDir: folder,
    threads: limits.threads,
    maxBatchRows: limits.maxBatchRows,
    maxContext: limits.maxContext,
    cacheBytes: limits.cacheMib * 2 ** 20,
    ...(signal === undefined ? {} : { signal }),
  });
  let death: RpcError | undefined;
  const explain = (error: unknown) => {
    const expected = error instanceof RpcError || (error instanceof Error && (error.name === "InputError" || error.name === "AbortError"));
    return expected ? error : (death ?? error);
  };
  const scheduler = new Scheduler(engine, { maxRows: limits.maxBatchRows, maxQueued: limits.maxQueued }, explain);
  void engine.closed.then((error) => {
    death = unavailable("BACKEND_DOWN", `${name}: the engine has ended${error === undefined ? "" : ` (${error.message})`}; load the model again`);
    scheduler.close(death);
  });
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
