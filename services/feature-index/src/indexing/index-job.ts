import type { MessageInitShape } from "@bufbuild/protobuf";
import { FeatureIndexSchema, type IndexCorpusRequest, IndexCorpusRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Sae } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition, parseName } from "@mistral-sae/rpc";
import { sampleStride } from "../blocks/block-columns.ts";
import { BlockLayout } from "../blocks/block-layout.ts";
import { orUnavailable } from "../clickhouse-away.ts";
import type { CorpusRecord, IndexRecord } from "../catalogue/records.ts";
import type { CorpusStore } from "../corpus/store-corpus.ts";
import { readySae } from "../peers/peers.ts";
import { requireRoom, type StorageFacts } from "../storage/usage.ts";
import { T } from "../store/tables.ts";
import { indexMessage } from "../wire/index-message.ts";
import { completeIndex, type CompleteParts } from "./complete-index.ts";
import { encodeBlock, type EncodeParts } from "./encode-block.ts";
import type { BlockSummary } from "./store-block.ts";
import { tokenProgress, tokensOf } from "./token-progress.ts";

/** What indexing works with. */
export interface IndexJobParts extends CompleteParts, EncodeParts {
  readonly corpora: CorpusStore;
  readonly blocksInParallel: number;
  readonly storage: StorageFacts;
}

type Ctx = JobContext<IndexCorpusRequest>;

interface BlockShard {
  readonly block: number;
}

// Tokens whose near-misses are told.
const MISS_TOKENS = 1 << 19;
// Stands in where an SAE has no fixed number of features a token.
export const USUAL_L0 = 64;

/**
 * The job behind IndexCorpus: store the corpus' tokens, encode it block by block, then build what pages are made of.
 * A shard is a block.
 */
export function indexJob(parts: IndexJobParts): Job {
  return defineJob<typeof IndexCorpusRequestSchema, typeof FeatureIndexSchema, BlockShard, BlockSummary>({
    kind: "index-corpus",
    input: IndexCorpusRequestSchema,
    output: FeatureIndexSchema,
    shardsInParallel: parts.blocksInParallel,
    plan: (input, ctx) => orUnavailable(() => planIndex(parts, input, ctx)),
    run: ({ block }, ctx) => orUnavailable(() => runBlock(parts, block, ctx)),
    reduce: (_, results, ctx) => orUnavailable(() => finishIndex(parts, results, ctx)),
  });
}

/** What the plan settled, as the operation's state keeps it. */
interface Plan {
  readonly indexId: string;
  readonly ready: boolean;
  readonly stride: number;
  /** Absent in work begun before near-misses were kept. */
  readonly missStride?: number;
}

async function planIndex(parts: IndexJobParts, input: IndexCorpusRequest, ctx: Ctx): Promise<readonly BlockShard[]> {
  const { catalogue, corpora, peers } = parts;
  const corpusId = parseName("corpora/{corpus}", input.corpus, "corpus").corpus;
  const message = await readySae(peers, input.sae, ctx.signal);
  const corpus = await corpora.store(corpusId, ctx.signal, ({ documents, totalDocuments }) =>
    ctx.progress({ stage: "tokenize", doneUnits: documents, totalUnits: totalDocuments, unit: "documents" }),
  );
  requireOneModel(message, corpus);
  const sae = catalogue.sae({ name: message.name, digest: message.digest, dSae: message.dSae, hookName: message.hookName });
  const wanted = { sae, corpus, maxTokens: Number(input.maxTokens), includeSpecialTokens: input.includeSpecialTokens };
  const same = catalogue.indexes().find((index) => index.state === "ready" && isSame(index, wanted));
  const index = same ?? catalogue.indexFor(ctx.name, preferredId(message.name, corpusId), wanted);
  const nSequences = same === undefined ? await sequencesWithin(parts, corpus, wanted.maxTokens) : same.nSequences;
  const { blockSequences, nBlocks } = new BlockLayout(corpus.contextSize, nSequences);
  const perToken = message.k ?? USUAL_L0;
  const stride = sampleStride(corpus.nTokens * perToken);
  // A standard SAE has none: each of its pre-activations above 0 fires.
  const missStride = message.architecture === "standard" ? 0 : Math.max(1, Math.ceil(tokensOf(corpus, nSequences) / MISS_TOKENS));
  ctx.state.set("plan", { indexId: index.id, ready: same !== undefined, stride, missStride } satisfies Plan);
  if (same !== undefined) return [];
  parts.stored.forget(index.indexId);
  catalogue.setIndexCounts(index.indexId, { nSequences, nTokens: nSequences === corpus.nSequences ? corpus.nTokens : 0, nSpecialTokens: 0, nActivations: 0, nFeaturesAlive: 0 });
  ctx.progress({ stage: "encode", doneUnits: 0, totalUnits: tokensOf(corpus, nSequences), unit: "tokens" });
  return Array.from({ length: blockSequences === 0 ? 0 : nBlocks }, (_, block) => ({ block }));
}

async function runBlock(parts: IndexJobParts, block: number, ctx: Ctx): Promise<BlockSummary> {
  const { index, stride, missStride } = planned(parts, ctx);
  await requireRoom(parts.storage);
  const report = tokenProgress(ctx, index);
  try {
    const summary = await encodeBlock(parts, index, { block, sampleStride: stride, missStride, signal: ctx.signal, encoded: (tokens) => report.add(tokens) });
    report.keep(summary.nTokens);
    return summary;
  } finally {
    report.end();
  }
}

async function finishIndex(parts: IndexJobParts, results: readonly BlockSummary[], ctx: Ctx): Promise<MessageInitShape<typeof FeatureIndexSchema>> {
  const { index, ready } = planned(parts, ctx);
  if (ready) return indexMessage(index, "ready");
  return await completeIndex(parts, index, results, ctx);
}

function planned({ catalogue }: IndexJobParts, ctx: Ctx): { index: IndexRecord; ready: boolean; stride: number; missStride: number } {
  const { indexId, ready, stride, missStride = 0 } = ctx.state.get("plan") as Plan;
  const index = catalogue.index(indexId);
  if (index === undefined) throw failedPrecondition("INDEX_DELETED", `indexes/${indexId} was deleted; index the corpus anew`, { index: `indexes/${indexId}` });
  return { index, ready, stride, missStride };
}

function requireOneModel(sae: Sae, corpus: CorpusRecord): void {
  if (!sae.name.startsWith(`${corpus.model}/`)) {
    throw failedPrecondition("MODEL_MISMATCH", `corpora/${corpus.id} was cut by the tokenizer of ${corpus.model}, which ${sae.name} does not belong to`, { corpus: `corpora/${corpus.id}`, sae: sae.name });
  }
}

function isSame(index: IndexRecord, { sae, corpus, maxTokens, includeSpecialTokens }: Pick<IndexRecord, "sae" | "corpus" | "maxTokens" | "includeSpecialTokens">): boolean {
  return index.importedFrom === "" && index.sae.saeId === sae.saeId && index.corpus.corpusId === corpus.corpusId && index.maxTokens === maxTokens && index.includeSpecialTokens === includeSpecialTokens;
}

function preferredId(sae: string, corpusId: string): string {
  return `${sae.split("/").at(-1)}-${corpusId}`;
}

/** Windows from the first whose tokens together stay within `maxTokens` (0: all), at least one. */
async function sequencesWithin({ clickhouse }: IndexJobParts, { corpusId, nSequences }: CorpusRecord, maxTokens: number): Promise<number> {
  if (maxTokens === 0) return nSequences;
  const { n } = await clickhouse.row<{ n: number }>(
    `SELECT count() AS n FROM (SELECT sum(length(tokens)) OVER (ORDER BY sequence_id ROWS UNBOUNDED PRECEDING) AS total
       FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32}) WHERE total <= {maxTokens:UInt64}`,
    { corpusId, maxTokens },
  );
  return Math.max(1, n);
}
