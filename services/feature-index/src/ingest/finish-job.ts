import type { MessageInitShape } from "@bufbuild/protobuf";
import { FeatureIndexSchema, type FinishIndexRequest, FinishIndexRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext, once } from "@mistral-sae/jobs";
import { failedPrecondition, parseName } from "@mistral-sae/rpc";
import { BLOCK_POSITIONS, BlockLayout } from "../blocks/block-layout.ts";
import type { ShardRecord } from "../catalogue/ingest-ledger.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { orUnavailable } from "../clickhouse-away.ts";
import { corpusDigest } from "../corpus/corpus-digest.ts";
import { completeIndex, type CompleteParts } from "../indexing/complete-index.ts";
import { requireSameSae } from "../indexing/encode-block.ts";
import type { BlockSummary } from "../indexing/store-block.ts";
import { requireRoom, type StorageFacts } from "../storage/usage.ts";
import { stored, T } from "../store/tables.ts";
import { indexMessage } from "../wire/index-message.ts";
import { BlockAssembly } from "./block-assembly.ts";
import { storeDocuments } from "./documents.ts";
import type { IngestMemory } from "./ingest-memory.ts";
import { storeIngested, strideOf, type StoreIngestedParts } from "./store-ingested.ts";
import { loadTail } from "./tails.ts";

/** What finishing works with. */
export interface FinishParts extends CompleteParts, StoreIngestedParts {
  readonly memory: IngestMemory;
  readonly storage: StorageFacts;
  readonly blocksInParallel: number;
}

type Ctx = JobContext<FinishIndexRequest>;

/** A block that takes windows which filled none. */
interface TailBlock {
  readonly block: number;
  readonly pieces: readonly TailPiece[];
}

interface TailPiece {
  readonly shard: number;
  readonly filled: number;
  readonly from: number;
  readonly to: number;
}

/**
 * The job behind FinishIndex: the windows that wait after the last full block of each shard fill the last blocks together,
 * then the same is built as for IndexCorpus. A shard is such a block.
 */
export function finishJob(parts: FinishParts): Job {
  return defineJob<typeof FinishIndexRequestSchema, typeof FeatureIndexSchema, TailBlock, BlockSummary>({
    kind: "finish-index",
    input: FinishIndexRequestSchema,
    output: FeatureIndexSchema,
    shardsInParallel: parts.blocksInParallel,
    plan: (_, ctx) => orUnavailable(() => planTails(parts, ctx)),
    run: (block, ctx) => orUnavailable(() => runTail(parts, block, ctx)),
    reduce: (_, results, ctx) => orUnavailable(() => finish(parts, results, ctx)),
  });
}

async function planTails(parts: FinishParts, ctx: Ctx): Promise<readonly TailBlock[]> {
  const { catalogue, peers } = parts;
  const index = indexOf(parts, ctx);
  if (index.state === "ready") return [];
  await requireSameSae(peers, index, ctx.signal);
  catalogue.setIndexOperation(index.indexId, ctx.name);
  parts.stored.forget(index.indexId);
  const nFull = catalogue.ingest.blocks(index.indexId).length;
  const { blockSequences } = new BlockLayout(index.corpus.contextSize, 0);
  const blocks = packTails(catalogue.ingest.shards(index.indexId), blockSequences, nFull);
  ctx.progress({ stage: "store", doneUnits: 0, totalUnits: blocks.length, unit: "blocks" });
  return blocks;
}

/** The tails one after another by shard, cut into blocks. */
export function packTails(shards: readonly ShardRecord[], blockSequences: number, firstBlock: number): TailBlock[] {
  const blocks: { block: number; pieces: TailPiece[] }[] = [];
  let room = 0;
  for (const { shard, filled, tailWindows } of shards) {
    for (let from = 0; from < tailWindows; ) {
      if (room === 0) {
        blocks.push({ block: firstBlock + blocks.length, pieces: [] });
        room = blockSequences;
      }
      const to = Math.min(tailWindows, from + room);
      blocks.at(-1)?.pieces.push({ shard, filled, from, to });
      room -= to - from;
      from = to;
    }
  }
  return blocks;
}

async function runTail(parts: FinishParts, { block, pieces }: TailBlock, ctx: Ctx): Promise<BlockSummary> {
  const { clickhouse, memory, storage } = parts;
  const index = indexOf(parts, ctx);
  const { indexId, corpus, sae, ingestL0 } = index;
  await requireRoom(storage);
  const assembly = new BlockAssembly(corpus.contextSize, sae.dSae, memory, await memory.take(BLOCK_POSITIONS * ingestL0, ctx.signal));
  try {
    for (const { shard, filled, from, to } of pieces) await loadTail(clickhouse, { indexId, shard, filled }, from, to, sae.dSae, assembly, ctx.signal);
    return await storeIngested(parts, index, block, assembly, ctx.signal);
  } finally {
    assembly.release();
  }
}

async function finish(parts: FinishParts, tails: readonly BlockSummary[], ctx: Ctx): Promise<MessageInitShape<typeof FeatureIndexSchema>> {
  const { catalogue, clickhouse } = parts;
  const { signal } = ctx;
  const begun = indexOf(parts, ctx);
  if (begun.state === "ready") return indexMessage(begun, "ready");
  const { indexId, corpus } = begun;
  const blocks = [...catalogue.ingest.blocks(indexId), ...tails];
  const windows = await clickhouse.row<{ nSequences: number; nTokens: number; nSpecialTokens: number; nDocuments: number }>(
    `SELECT count() AS nSequences, sum(length(tokens)) AS nTokens, sum(length(special)) AS nSpecialTokens, uniqExact(doc_id) AS nDocuments FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32}`,
    { corpusId: corpus.corpusId },
    { signal },
  );
  const nActivations = blocks.reduce((sum, block) => sum + block.nActivations, 0);
  catalogue.setIndexCounts(indexId, { ...windows, nActivations, nFeaturesAlive: 0 });
  await once(ctx, "ingest:thinned", async () => await thinSample(parts, begun, blocks.length - 1, signal));
  await once(ctx, "ingest:documents", async () => await storeDocuments(parts, begun, windows.nDocuments, ctx));
  await once(ctx, "ingest:corpus", async () => {
    catalogue.setCorpusProgress(corpus.corpusId, { ...windows, chunks: blocks.length });
    catalogue.setCorpusReady(corpus.corpusId, await corpusDigest(clickhouse, corpus.corpusId, signal));
  });
  return await completeIndex(parts, indexOf(parts, ctx), blocks, ctx);
}

/** Leaves of the first blocks' samples what the last block's stride keeps (`isSampled`). */
async function thinSample({ clickhouse }: FinishParts, index: IndexRecord, lastBlock: number, signal: AbortSignal): Promise<void> {
  const stride = strideOf(index, lastBlock);
  if (stride === strideOf(index, 0)) return;
  await clickhouse.command(
    `ALTER TABLE ${stored(clickhouse, T.sampledCodes)} DELETE IN PARTITION ID {indexId:String} WHERE toUInt32(toUInt32(sequence_id * {contextSize:UInt32} + token_index) * 2654435761) % {stride:UInt32} != 0`,
    { indexId: String(index.indexId), contextSize: index.corpus.contextSize, stride },
    { signal, settings: { mutations_sync: "2" } },
  );
}

function indexOf({ catalogue }: FinishParts, { input }: Ctx): IndexRecord {
  const { index: id } = parseName("indexes/{index}", input.name, "name");
  const index = catalogue.index(id);
  if (index === undefined) throw failedPrecondition("INDEX_DELETED", `${input.name} was deleted while it was being finished`, { index: input.name });
  return index;
}
