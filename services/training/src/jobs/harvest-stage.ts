import { activationKey, privateKey } from "@mistral-sae/activations";
import { corpusFingerprint, openCorpus, type CorpusSource } from "@mistral-sae/corpus";
import { failedPrecondition } from "@mistral-sae/rpc";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import { activationSource, type Harvested, type HarvestPlan, type HarvestText } from "../harvest/harvest-plan.ts";
import type { HarvestTask } from "../harvest/harvest-thread.ts";
import type { PeerAddress } from "../peer/peer-address.ts";
import type { ServedModel } from "../runs/model-facts.ts";
import { runStage, type StageListener } from "../threads/run-stage.ts";
import { KeyedLock } from "./keyed-lock.ts";

const LEAST_SHARD_TOKENS = 1024;

/** One writer at a time for each activation set, by folder. */
const writing = new KeyedLock();

/** Writes sets while nobody else does. */
export async function whileWriting<T>(folders: readonly string[], work: () => Promise<T>): Promise<T> {
  return await writing.runAll(folders, work);
}

/** Whether somebody writes a set, or waits to. */
export function isWriting(folder: string): boolean {
  return writing.has(folder);
}

/**
 * Harvests on a thread of its own what is not stored yet, all hooks in one pass. Jobs that need the same rows
 * harvest them once, also where only some of their hooks are the same.
 */
export async function harvestStage(plan: HarvestPlan, peer: PeerAddress, listener: StageListener<never>): Promise<Harvested> {
  const task: HarvestTask = { plan, peer };
  return await whileWriting(foldersOf(plan), () => runStage<Harvested>(new URL("../harvest/harvest-thread.ts", import.meta.url), task, listener));
}

/** Folder of each hook's shards. */
export function foldersOf({ text, hooks, privateTo }: Pick<HarvestPlan, "text" | "hooks" | "privateTo">): string[] {
  return hooks.map((hook) => {
    const source = activationSource(text, hook);
    return privateTo === undefined ? activationKey(source) : privateKey(source, privateTo);
  });
}

/**
 * What is the same at all hooks of a model. Shards have the same tokens whatever the hook's width, so that hooks
 * that are harvested together and alone have the same shards; `shardBytes` are those of a residual's.
 */
export function harvestText(model: ServedModel, text: Pick<HarvestText, "corpus" | "contextSize" | "dtype">, shardBytes: number): HarvestText {
  return { modelDigest: model.digest, ...text, shardTokens: shardTokensOf(model.dModel, text.dtype, shardBytes), documents: "trained-on" };
}

/** Tokens of a shard with residuals of about `shardBytes`. */
export function shardTokensOf(dModel: number, dtype: HarvestText["dtype"], shardBytes: number): number {
  return Math.max(LEAST_SHARD_TOKENS, Math.floor(shardBytes / (dModel * DTYPE_BYTES[dtype])));
}

/** @throws RpcError FAILED_PRECONDITION when the corpus is not what it was when `work` was asked for. */
export async function requireSameCorpus(source: CorpusSource, fingerprint: string, work: string, signal: AbortSignal): Promise<void> {
  const now = await corpusFingerprint(await openCorpus(source), signal);
  if (now !== fingerprint) throw failedPrecondition("CORPUS_CHANGED", `the corpus at ${source.uri} is not what it was when ${work} was made: make a new one`);
}
