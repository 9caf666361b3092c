import { activationKey } from "@mistral-sae/activations";
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

const harvesting = new KeyedLock();

/** Harvests on a thread of its own. Two jobs that need the same rows harvest them once. */
export async function harvestStage(plan: HarvestPlan, peer: PeerAddress, listener: StageListener<never>): Promise<Harvested> {
  const task: HarvestTask = { plan, peer };
  const keys = plan.hooks.map((hook) => activationKey(activationSource(plan.text, hook)));
  return await harvesting.runAll(keys, () => runStage<Harvested>(new URL("../harvest/harvest-thread.ts", import.meta.url), task, listener));
}

/**
 * What is the same at all hooks of a model. Shards have the same tokens whatever the hook's width, so that hooks
 * that are harvested together and alone have the same shards; `shardBytes` are those of a residual's.
 */
export function harvestText(model: ServedModel, text: Pick<HarvestText, "corpus" | "contextSize" | "dtype">, shardBytes: number): HarvestText {
  const shardTokens = Math.max(LEAST_SHARD_TOKENS, Math.floor(shardBytes / (model.dModel * DTYPE_BYTES[text.dtype])));
  return { modelDigest: model.digest, ...text, shardTokens, documents: "trained-on" };
}

/** @throws RpcError FAILED_PRECONDITION when the corpus is not what it was when `work` was asked for. */
export async function requireSameCorpus(source: CorpusSource, fingerprint: string, work: string, signal: AbortSignal): Promise<void> {
  const now = await corpusFingerprint(await openCorpus(source), signal);
  if (now !== fingerprint) throw failedPrecondition("CORPUS_CHANGED", `the corpus at ${source.uri} is not what it was when ${work} was made: make a new one`);
}
