import { ShardSet, type ShardRecord } from "@mistral-sae/activations";
import { isHeldBack, openCorpus, type Corpus, type Document } from "@mistral-sae/corpus";
import { failedPrecondition } from "@mistral-sae/rpc";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { Window } from "../peer/tokens.ts";
import { dealShards } from "./deal-shards.ts";
import { activationSource, type Harvested, type HarvestHook, type HarvestPlan, type HarvestText } from "./harvest-plan.ts";
import { HarvestProgress, type ProgressSink } from "./harvest-progress.ts";
import type { ShardBuffer } from "./shard-buffer.ts";

/** Forward calls that are under way together, so that the engine always has the next one waiting. */
const CALLS_IN_FLIGHT = 3;
/** Tokens of one Forward call. */
const CALL_TOKENS = 8192;

/** A hook's shards in the store. */
interface HookShards {
  readonly set: ShardSet;
  /** Finished, from the first on. */
  readonly done: ShardRecord[];
}

/**
 * Runs the documents that may be trained on through the model once and writes the rows at each hook as shards.
 * What an earlier harvest finished of a hook is kept: documents are dealt to shards in the order of the corpus,
 * so that any harvest of the same source cuts the same shards, and a shard is read only at hooks that lack it.
 */
export async function harvest(plan: HarvestPlan, peer: InferencePeer, sink: ProgressSink, signal: AbortSignal): Promise<Harvested> {
  const hooks = await Promise.all(plan.hooks.map((hook) => openShards(plan, hook)));
  const corpus = await openCorpus(plan.corpus);
  const counts = { heldBack: 0 };
  const complete = await Promise.all(hooks.map((hook) => isComplete(hook, plan.rowsWanted)));
  const lacking = hooks.filter((_, at) => complete[at] !== true).toSorted((a, b) => a.done.length - b.done.length);
  const [last] = lacking;
  if (last !== undefined) {
    await requireSameModel(plan, peer);
    for (const { set } of lacking) await set.removeUnfinished();
    const progress = await HarvestProgress.start(corpus, plan.rowsWanted, last.done, sink, signal);
    const shards = lackedShards(corpus, plan, lacking, counts, peer, signal);
    for await (const _ of written(filled(shards, plan.text.dtype, peer), lacking)) progress.report(last.done);
    const { documents, emptyTexts } = corpus.stats;
    for (const { set, done } of lacking) {
      if (rowsIn(done) < plan.rowsWanted) await set.writeEnd({ shards: done.length, rows: rowsIn(done), documents, heldBack: counts.heldBack, emptyTexts });
    }
  }
  const end = await hooks[0]?.set.end();
  return {
    hooks: hooks.map(({ set, done }) => ({ hookName: set.source.hookName, width: set.source.width, shards: done, rows: rowsIn(done), folder: set.folder })),
    heldBack: end?.heldBack ?? counts.heldBack,
    emptyTexts: end?.emptyTexts ?? corpus.stats.emptyTexts,
  };
}

async function openShards({ store, text, corpus, rowsWanted }: HarvestPlan, hook: HarvestHook): Promise<HookShards> {
  const set = await ShardSet.open(store, activationSource(text, hook), { corpusUri: corpus.uri });
  return { set, done: [...(await set.finished(rowsWanted))] };
}

async function isComplete({ set, done }: HookShards, rowsWanted: number): Promise<boolean> {
  return rowsIn(done) >= rowsWanted || (await set.end())?.shards === done.length;
}

async function requireSameModel({ text: { modelDigest } }: HarvestPlan, peer: InferencePeer): Promise<void> {
  const { model } = await peer.capabilities();
  if (model?.digest !== modelDigest) throw failedPrecondition("MODEL_CHANGED", `${peer.model} is not the model that the run was made for: digest ${model?.digest ?? "none"}, wanted ${modelDigest}`);
}

function rowsIn(shards: readonly ShardRecord[]): number {
  return shards.reduce((sum, shard) => sum + shard.rows, 0);
}

/** The shards that some hook lacks, from the first such on. `lacking` starts with the hook that has fewest. */
function lackedShards(corpus: Corpus, plan: HarvestPlan, lacking: readonly HookShards[], counts: { heldBack: number }, peer: InferencePeer, signal: AbortSignal): AsyncIterable<ShardBuffer> {
  const { contextSize, shardTokens, dtype } = plan.text;
  const firsts = lacking.map(({ set: { source }, done }) => ({ first: done.length, hookName: source.hookName, rowBytes: source.width * DTYPE_BYTES[dtype] }));
  const done = lacking[0]?.done ?? [];
  const start = { index: done.length, rowStart: rowsIn(done), documentStart: done.at(-1)?.documentEnd ?? 0 };
  return dealShards(trainingDocuments(corpus, start.documentStart, counts, signal), start, peer, {
    contextSize,
    bosTokenId: plan.bosTokenId,
    shardTokens,
    rowsWanted: plan.rowsWanted,
    hooksOf: (index) => firsts.filter(({ first }) => first <= index),
  });
}

/** Every document is read, so that those held back are counted whole; those of finished shards are passed over. */
async function* trainingDocuments(corpus: Corpus, first: number, counts: { heldBack: number }, signal: AbortSignal): AsyncIterable<Document> {
  for await (const document of corpus.documents(signal)) {
    if (isHeldBack(document.text)) counts.heldBack += 1;
    else if (document.docId >= first) yield document;
  }
}

/** Some windows of a shard that one Forward call takes. */
interface ForwardCall {
  readonly shard: ShardBuffer;
  readonly firstWindow: number;
  readonly windows: readonly Window[];
}

async function* calls(shards: AsyncIterable<ShardBuffer>): AsyncIterable<ForwardCall> {
  for await (const shard of shards) {
    let firstWindow = 0;
    let tokens = 0;
    for (let at = 0; at < shard.windows.length; at += 1) {
      tokens += shard.windows[at]?.ids.length ?? 0;
      if (tokens < CALL_TOKENS && at + 1 < shard.windows.length) continue;
      yield { shard, firstWindow, windows: shard.windows.slice(firstWindow, at + 1) };
      firstWindow = at + 1;
      tokens = 0;
    }
  }
}

/** Shards with their rows, in order. */
async function* filled(shards: AsyncIterable<ShardBuffer>, dtype: HarvestText["dtype"], peer: InferencePeer): AsyncIterable<ShardBuffer> {
  const answered = inFlight(calls(shards), CALLS_IN_FLIGHT, async (call) => {
    await peer.forward(call.shard.hookNames, dtype, call.windows, (rows) => call.shard.put(rows, call.firstWindow));
    return call;
  });
  for await (const { shard, firstWindow, windows } of answered) {
    if (firstWindow + windows.length === shard.windows.length) yield shard;
  }
}

/** Writes shards, each beside the calls that fill the next, and says when one is done. */
async function* written(shards: AsyncIterable<ShardBuffer>, hooks: readonly HookShards[]): AsyncIterable<void> {
  let writing: Promise<void> | undefined;
  for await (const shard of shards) {
    if (writing !== undefined) yield await writing;
    writing = writeShard(shard, hooks);
    writing.catch(() => undefined);
  }
  if (writing !== undefined) yield await writing;
}

/** Commits a shard at each hook that lacks it. */
async function writeShard(shard: ShardBuffer, hooks: readonly HookShards[]): Promise<void> {
  const { index, rows, documentStart, documentEnd, rowStart, hookNames } = shard;
  const places = shard.places();
  for (const { set, done } of hooks) {
    const { hookName } = set.source;
    if (hookNames.includes(hookName)) done.push(await set.write({ index, rows, documentStart, documentEnd, rowStart }, shard.bytesOf(hookName), places));
  }
}
