import type { MessageInitShape } from "@bufbuild/protobuf";
import { FeatureIndexSchema, type ImportDelphiCacheRequest, ImportDelphiCacheRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition } from "@mistral-sae/rpc";
import { InputError } from "@mistral-sae/tensor";
import { sampleStride } from "../../blocks/block-columns.ts";
import { BlockLayout } from "../../blocks/block-layout.ts";
import { buildIndex } from "../../building/build-index.ts";
import { orUnavailable } from "../../clickhouse-away.ts";
import { corpusDigest } from "../../corpus/corpus-digest.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import type { StoreParts } from "../../indexing/store-block.ts";
import { readySae } from "../../peers/peers.ts";
import { requireRoom } from "../../storage/usage.ts";
import { announceIndex } from "../../store/names.ts";
import { indexMessage } from "../../wire/index-message.ts";
import type { ImportParts } from "../import/import-dashboard.ts";
import { importTarget, orNothing, targetOf } from "../import/import-target.ts";
import { inThreads } from "../import/threads.ts";
import { modelVocabulary } from "../import/vocabulary.ts";
import { modulePath } from "./module-path.ts";
import { type CacheFile, type LatentCache, readCache } from "./read-cache.ts";
import type { TokenCounts } from "./stage-cache.ts";
import { storeStagedBlocks } from "./staged-blocks.ts";
import { unroundExamples } from "./unround-examples.ts";

/** What the import of a cache works with. */
export interface DelphiImportParts extends ImportParts, StoreParts {
  readonly blocksInParallel: number;
}

type Ctx = JobContext<ImportDelphiCacheRequest>;

/** Windows or activations of one insert. */
type CacheShard = { readonly rows: { readonly start: number; readonly end: number } } & ({ readonly kind: "tokens" } | { readonly kind: "activations"; readonly file: CacheFile });

/** What the plan settled, as the operation's state keeps it. */
interface Plan {
  readonly cache: LatentCache;
  readonly nActivations: number;
  readonly special: readonly number[];
}

/** Activations of an insert: some 30 MB in memory. */
const ACTIVATIONS_AN_INSERT = 2_000_000;
const TOKENS_AN_INSERT = 1 << 20;

/**
 * The job behind ImportDelphiCache: activations are staged as they come, in whatever order, and sorted into blocks, which are stored
 * like those of any index and built on. A shard is one insert. The SAE must be READY: the build reads its decoder.
 */
export function importDelphiJob(parts: DelphiImportParts): Job {
  return defineJob<typeof ImportDelphiCacheRequestSchema, typeof FeatureIndexSchema, CacheShard, TokenCounts>({
    kind: "import-delphi-cache",
    input: ImportDelphiCacheRequestSchema,
    output: FeatureIndexSchema,
    shardsInParallel: parts.threads,
    plan: (request, ctx) => orNothing(parts, ctx, async () => await orUnavailable(async () => await plan(parts, request, ctx))),
    run: (shard, ctx) => orNothing(parts, ctx, async () => await orUnavailable(async () => await run(parts, shard, ctx))),
    reduce: (_, counts, ctx) => orNothing(parts, ctx, async () => await orUnavailable(async () => await finish(parts, counts, ctx))),
  });
}

async function plan(parts: DelphiImportParts, { uri, sae: name }: ImportDelphiCacheRequest, ctx: Ctx): Promise<readonly CacheShard[]> {
  const sae = await readySae(parts.peers, name, ctx.signal);
  const cache = await readCache(uri, modulePath(sae.hookName), sae.dSae);
  const { contextSize, nSequences, files } = cache;
  const { nBlocks } = new BlockLayout(contextSize, nSequences);
  const nActivations = files.reduce((sum, { n }) => sum + n, 0);
  if (nBlocks === 0 || nActivations === 0) throw new InputError(`${cache.folder} holds no activation`, { file: cache.folder, field: "activations", got: `${nActivations} activations on ${nSequences} windows`, wanted: "at least 1" });
  const model = name.split("/").slice(0, 2).join("/");
  const vocabulary = await modelVocabulary(parts, model, ctx.signal);
  if (vocabulary === undefined) throw failedPrecondition("MODEL_NOT_LOADED", `${model} is not loaded: nobody else knows what the cache's token ids stand for`, { model });
  importTarget(parts, ctx.name, sae, "delphi", { uri, contextSize, nSequences, nTokens: nSequences * contextSize, nSpecialTokens: 0, vocabularyId: vocabulary.vocabularyId });
  ctx.state.set("plan", { cache, nActivations, special: vocabulary.special } satisfies Plan);
  const windows = Math.max(1, Math.floor(TOKENS_AN_INSERT / contextSize));
  return [
    ...pieces(nSequences, windows).map((rows) => ({ kind: "tokens" as const, rows })),
    ...files.flatMap((file) => pieces(file.n, ACTIVATIONS_AN_INSERT).map((rows) => ({ kind: "activations" as const, file, rows }))),
  ];
}

function pieces(n: number, size: number): { readonly start: number; readonly end: number }[] {
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => ({ start: i * size, end: Math.min(n, (i + 1) * size) }));
}

async function run(parts: DelphiImportParts, shard: CacheShard, ctx: Ctx): Promise<TokenCounts> {
  const { indexId, corpus } = targetOf(parts, ctx.name);
  const { cache, nActivations, special } = ctx.state.get("plan") as Plan;
  const { contextSize, nSequences, files, dataset, paddingToken } = cache;
  await requireRoom(parts.storage);
  const { rows } = shard;
  const texts = shard.kind === "tokens" ? await parts.vocabularies.texts(corpus.vocabularyId) : [];
  const staged = () => Number(ctx.state.get("staged") ?? 0);
  const report = () => ctx.progress({ stage: "stage", doneUnits: staged(), totalUnits: nActivations, unit: "activations" });
  return await inThreads(
    1,
    { url: parts.url, login: parts.owner, texts, special },
    ctx,
    async (store) => {
      if (shard.kind === "tokens") return await store<TokenCounts>({ kind: "tokens", corpusId: corpus.corpusId, files, rows, contextSize, dataset, paddingToken });
      const counts = await store<TokenCounts>({ kind: "activations", indexId, file: shard.file, rows, contextSize, nSequences });
      ctx.state.set("staged", Math.min(nActivations, staged() + rows.end - rows.start));
      report();
      return counts;
    },
    report,
  );
}

async function finish(parts: DelphiImportParts, shards: readonly TokenCounts[], ctx: Ctx): Promise<MessageInitShape<typeof FeatureIndexSchema>> {
  const { catalogue, clickhouse } = parts;
  const index = targetOf(parts, ctx.name);
  const { nActivations } = ctx.state.get("plan") as Plan;
  const sum = (pick: (counts: TokenCounts) => number) => shards.reduce((total, counts) => total + pick(counts), 0);
  const tokens = { nTokens: sum(({ nTokens }) => nTokens), nSpecialTokens: sum(({ nSpecialTokens }) => nSpecialTokens) };
  const { nBlocks } = await storeStagedBlocks(parts, index, { nActivations, sampleStride: sampleStride(nActivations), file: index.corpus.source }, ctx);
  const counted: IndexRecord = { ...index, ...tokens };
  const texts = await parts.vocabularies.texts(index.corpus.vocabularyId);
  const nFeaturesAlive = await buildIndex(parts, counted, { nBlocks, nActivations }, texts, ctx);
  await unroundExamples(clickhouse, index, ctx);
  const { corpusId, chunks, nDocuments, nSequences } = index.corpus;
  catalogue.setCorpusProgress(corpusId, { chunks, nDocuments, nSequences, ...tokens });
  catalogue.setCorpusReady(corpusId, await corpusDigest(clickhouse, corpusId, ctx.signal));
  const counts = { nSequences, ...tokens, nActivations, nFeaturesAlive };
  catalogue.setIndexCounts(index.indexId, counts);
  await announceIndex(clickhouse, { ...index, ...counts });
  catalogue.setIndexState(index.indexId, "ready");
  parts.stored.forget(index.indexId);
  return indexMessage(targetOf(parts, ctx.name), "ready");
}
