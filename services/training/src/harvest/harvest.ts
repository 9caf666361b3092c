import { ShardSet, type ActivationSource, type ShardRecord, type StoreAddress } from "@mistral-sae/activations";
import { isHeldBack, openCorpus, type Corpus, type CorpusSource, type Document } from "@mistral-sae/corpus";
import { failedPrecondition } from "@mistral-sae/rpc";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import { inFlight } from "../peer/in-flight.ts";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { Window } from "../peer/tokens.ts";
import { HarvestProgress, type ProgressSink } from "./harvest-progress.ts";
import { ShardBuffer } from "./shard-buffer.ts";
import { tokenWindows } from "./token-windows.ts";

/** What to harvest. */
export interface HarvestPlan {
  readonly store: StoreAddress;
  readonly source: ActivationSource;
  readonly corpus: CorpusSource;
  readonly bosTokenId: number | undefined;
  /** Stop once there are this many rows; the corpus may end before. */
  readonly rowsWanted: number;
}

/** The shards that a run trains on: the shortest run of whole shards from the first with the rows wanted. */
export interface Harvested {
  readonly shards: readonly ShardRecord[];
  readonly rows: number;
  readonly heldBack: number;
  readonly emptyTexts: number;
}

/** Forward calls that are under way together, so that the engine always has the next one waiting. */
const CALLS_IN_FLIGHT = 3;
/** Tokens of one Forward call. */
const CALL_TOKENS = 8192;

/**
 * Runs the documents that may be trained on through the model to a hook and writes the rows as shards. What an
 * earlier harvest finished is kept: documents are dealt to shards in the order of the corpus, so that any
 * harvest of the same source cuts the same shards.
 */
export async function harvest(plan: HarvestPlan, peer: InferencePeer, sink: ProgressSink, signal: AbortSignal): Promise<Harvested> {
  const set = await ShardSet.open(plan.store, plan.source, { corpusUri: plan.corpus.uri });
  const done = [...(await set.finished(plan.rowsWanted))];
  const corpus = await openCorpus(plan.corpus);
  const counts = { heldBack: 0 };
  if (!(await isComplete(set, done, plan.rowsWanted))) {
    await requireSameModel(plan, peer);
    await set.removeUnfinished();
    const progress = await HarvestProgress.start(corpus, plan.rowsWanted, done, sink, signal);
    const shards = dealShards(trainingDocuments(corpus, nextDocument(done), counts, signal), plan, peer, done);
    for await (const record of written(set, calls(shards), plan, peer)) {
      done.push(record);
      progress.report(done);
      if (record.rowStart + record.rows >= plan.rowsWanted) break;
    }
    if (rowsIn(done) < plan.rowsWanted) await set.writeEnd({ shards: done.length, rows: rowsIn(done), documents: corpus.stats.documents, heldBack: counts.heldBack, emptyTexts: corpus.stats.emptyTexts });
  }
  const end = await set.end();
  return { shards: done, rows: rowsIn(done), heldBack: end?.heldBack ?? counts.heldBack, emptyTexts: end?.emptyTexts ?? corpus.stats.emptyTexts };
}

async function isComplete(set: ShardSet, done: readonly ShardRecord[], rowsWanted: number): Promise<boolean> {
  return rowsIn(done) >= rowsWanted || (await set.end())?.shards === done.length;
}

async function requireSameModel({ source: { modelDigest } }: HarvestPlan, peer: InferencePeer): Promise<void> {
  const { model } = await peer.capabilities();
  if (model?.digest !== modelDigest) throw failedPrecondition("MODEL_CHANGED", `${peer.model} is not the model that the run was made for: digest ${model?.digest ?? "none"}, wanted ${modelDigest}`);
}

function rowsIn(shards: readonly ShardRecord[]): number {
  return shards.reduce((sum, shard) => sum + shard.rows, 0);
}

function nextDocument(done: readonly ShardRecord[]): number {
  return done.at(-1)?.documentEnd ?? 0;
}

/** Every document is read, so that those held back are counted whole; those of finished shards are passed over. */
async function* trainingDocuments(corpus: Corpus, first: number, counts: { heldBack: number }, signal: AbortSignal): AsyncIterable<Document> {
  for await (const document of corpus.documents(signal)) {
    if (isHeldBack(document.text)) counts.heldBack += 1;
    else if (document.docId >= first) yield document;
  }
}

/** Deals documents to shards, each of at least the source's shard tokens; the last has what is left. */
async function* dealShards(documents: AsyncIterable<Document>, plan: HarvestPlan, peer: InferencePeer, done: readonly ShardRecord[]): AsyncIterable<ShardBuffer> {
  const { contextSize, shardTokens, width, dtype } = plan.source;
  const rowBytes = width * DTYPE_BYTES[dtype];
  let index = done.length;
  let rowStart = rowsIn(done);
  let documentStart = nextDocument(done);
  let documentEnd = documentStart;
  let windows: Window[] = [];
  let tokens = 0;
  const close = (): ShardBuffer => {
    const shard = new ShardBuffer({ index, rowStart, documentStart, documentEnd, windows }, rowBytes);
    index += 1;
    rowStart += shard.rows;
    documentStart = documentEnd;
    windows = [];
    tokens = 0;
    return shard;
  };
  for await (const { document, windows: more } of tokenWindows(documents, peer, { contextSize, bosTokenId: plan.bosTokenId })) {
    documentEnd = document.docId + 1;
    windows.push(...more);
    tokens += more.reduce((sum, window) => sum + window.ids.length, 0);
    if (tokens < shardTokens) continue;
    yield close();
    if (rowStart >= plan.rowsWanted) return;
  }
  if (windows.length > 0) yield close();
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

/** Fills the shards and writes each when its last call has ended; the write goes on beside the next calls. */
async function* written(set: ShardSet, forwardCalls: AsyncIterable<ForwardCall>, plan: HarvestPlan, peer: InferencePeer): AsyncIterable<ShardRecord> {
  const { hookName, dtype } = plan.source;
  const filled = inFlight(forwardCalls, CALLS_IN_FLIGHT, async (call) => {
    await peer.forward(hookName, dtype, call.windows, (rows) => call.shard.put(rows, call.firstWindow));
    return call;
  });
  let writing: Promise<ShardRecord> | undefined;
  for await (const { shard, firstWindow, windows } of filled) {
    if (firstWindow + windows.length < shard.windows.length) continue;
    if (writing !== undefined) yield await writing;
    writing = set.write({ index: shard.index, rows: shard.rows, documentStart: shard.documentStart, documentEnd: shard.documentEnd, rowStart: shard.rowStart }, shard.bytes, shard.places());
    writing.catch(() => undefined);
  }
  if (writing !== undefined) yield await writing;
}
