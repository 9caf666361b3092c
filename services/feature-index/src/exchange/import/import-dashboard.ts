import type { GenMessage } from "@bufbuild/protobuf/codegenv2";
import type { Message, MessageInitShape } from "@bufbuild/protobuf";
import type { ClickHouse, Login } from "@mistral-sae/clickhouse";
import { FeatureIndexSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext, once } from "@mistral-sae/jobs";
import { SaeState } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { Catalogue } from "../../catalogue/catalogue.ts";
import { orUnavailable } from "../../clickhouse-away.ts";
import { corpusDigest } from "../../corpus/corpus-digest.ts";
import type { Vocabularies } from "../../corpus/vocabulary.ts";
import { invertTokens } from "../../building/inverted-tables.ts";
import { packPages } from "../../building/pack-pages.ts";
import type { Peers } from "../../peers/peers.ts";
import { type Explanation, writeExplanations } from "../../serving/explanations.ts";
import { requireRoom, type StorageFacts } from "../../storage/usage.ts";
import { announceIndex } from "../../store/names.ts";
import { dropIndexRows, mergeIndexRows } from "../../store/table-facts.ts";
import { STAGED_TABLES, T } from "../../store/tables.ts";
import { indexMessage } from "../../wire/index-message.ts";
import { assembleDashboard, countTokens } from "./assemble-dashboard.ts";
import { dashboardFolder, neuronpediaFolder } from "./dashboard-folder.ts";
import { plainColumns } from "./feature-columns.ts";
import { importTarget, orNothing, registeredSae, targetOf } from "./import-target.ts";
import { readScans } from "./read-scans.ts";
import type { FileScan } from "./scan-file.ts";
import { inThreads } from "./threads.ts";
import { importVocabulary } from "./vocabulary.ts";
import type { ImportShard, ShardCounts } from "./write-shard.ts";

/** What imports work with. */
export interface ImportParts {
  readonly clickhouse: ClickHouse;
  readonly url: string;
  readonly owner: Login;
  readonly catalogue: Catalogue;
  readonly peers: Peers;
  readonly vocabularies: Vocabularies;
  readonly storage: StorageFacts;
  readonly threads: number;
}

/** What every request for an import says. */
export type ImportRequest = Message & { readonly uri: string; readonly sae: string; readonly requestId: string };

type Ctx = JobContext<ImportRequest>;

/** What the plan settled, as the operation's state keeps it. */
interface Plan {
  readonly nExamples: number;
  readonly special: readonly number[];
  readonly ofModel: boolean;
}

const folders = { neuronpedia: neuronpediaFolder, saedashboard: dashboardFolder } as const;
const EXPLANATIONS_AT_ONCE = 1_000;

/**
 * The job behind ImportNeuronpedia and ImportSaeDashboard. All files are read to their end and checked before anything is stored;
 * then each is read once more and stored, and what pages are made of is put together in ClickHouse. A shard is some files.
 */
export function importDashboardJob(parts: ImportParts, format: keyof typeof folders, input: GenMessage<ImportRequest>): Job {
  return defineJob<typeof input, typeof FeatureIndexSchema, ImportShard, ShardCounts>({
    kind: `import-${format}`,
    input,
    output: FeatureIndexSchema,
    shardsInParallel: parts.threads,
    plan: (request, ctx) => orNothing(parts, ctx, async () => await orUnavailable(async () => await plan(parts, format, request, ctx))),
    run: (shard, ctx) => orNothing(parts, ctx, async () => await orUnavailable(async () => await run(parts, shard, ctx))),
    reduce: (request, counts, ctx) => orNothing(parts, ctx, async () => await orUnavailable(async () => await finish(parts, request, counts, ctx))),
  });
}

async function plan(parts: ImportParts, format: keyof typeof folders, { uri, sae: name }: ImportRequest, ctx: Ctx): Promise<readonly ImportShard[]> {
  const { clickhouse } = parts;
  const sae = await registeredSae(parts.peers, name, ctx.signal);
  const { files, metadata } = await folders[format](uri);
  const totalUnits = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let nScanned = 0;
  const scans = await inThreads(
    parts.threads,
    { url: parts.url, login: parts.owner, texts: [], special: [] },
    ctx,
    async (scan, { shared }) => {
      const checked = async (file: (typeof files)[number]): Promise<FileScan> => {
        const found = await scan<FileScan>({ kind: "scan", file, dSae: sae.dSae, meter: shared });
        nScanned += file.bytes;
        return found;
      };
      return await Promise.all(files.map(checked));
    },
    () => ctx.progress({ stage: "check", doneUnits: nScanned, totalUnits, unit: "bytes" }),
  );
  const { shards, owner, strings, nExamples, contextSize } = readScans(uri, sae.dSae, files, scans);
  const model = name.split("/").slice(0, 2).join("/");
  const { vocabularyId, special, nForeign, ofModel } = await importVocabulary(parts, ctx.name, model, strings, ctx.signal);
  if (!ofModel) ctx.warn(`${model} is not loaded: the tokens are numbered as the files name them, not as the model does`);
  else if (nForeign > 0) ctx.warn(`${nForeign} of ${strings.size} different tokens are not the text of exactly one token of ${model}: they have numbers of their own, behind the model's`);
  if (sae.state !== SaeState.READY) ctx.warn(`${name} is not loaded: pages show the neighbours that the files give, and decoder neighbours only once it is`);
  const index = importTarget(parts, ctx.name, sae, format, { uri, contextSize, nSequences: nExamples, nTokens: 0, nSpecialTokens: 0, vocabularyId });
  const rows = format === "saedashboard" ? [{ feature: 0, file: "batch", row: JSON.parse(owner) as Record<string, unknown> }, ...metadata] : [{ feature: 0, file: "source", row: { owner } }, ...metadata];
  await clickhouse.insertColumns(T.importedRows, plainColumns(index.indexId, "metadata", 0, rows), { deduplicationToken: `${index.indexId}/metadata` });
  ctx.state.set("plan", { nExamples, special, ofModel } satisfies Plan);
  return shards;
}

async function run(parts: ImportParts, shard: ImportShard, ctx: Ctx): Promise<ShardCounts> {
  const { indexId, corpus, sae } = targetOf(parts, ctx.name);
  const { nExamples, special } = ctx.state.get("plan") as Plan;
  await requireRoom(parts.storage);
  const texts = await parts.vocabularies.texts(corpus.vocabularyId);
  const target = { indexId, corpusId: corpus.corpusId, contextSize: corpus.contextSize, dSae: sae.dSae };
  const done = () => Number(ctx.state.get("examples") ?? 0);
  const counts = await inThreads(
    1,
    { url: parts.url, login: parts.owner, texts, special },
    ctx,
    async (write, meter) => {
      const written = await write<ShardCounts>({ kind: "write", shard, target, meter: meter.shared });
      ctx.state.set("examples", done() + meter.examples);
      meter.count("examples", -meter.examples);
      return written;
    },
    ({ examples }) => ctx.progress({ stage: "store", doneUnits: Math.min(nExamples, done() + examples), totalUnits: nExamples, unit: "examples" }),
  );
  return counts;
}

async function finish(parts: ImportParts, { uri }: ImportRequest, shards: readonly ShardCounts[], ctx: Ctx): Promise<MessageInitShape<typeof FeatureIndexSchema>> {
  const { clickhouse, catalogue } = parts;
  const { signal } = ctx;
  const index = targetOf(parts, ctx.name);
  const { special } = ctx.state.get("plan") as Plan;
  const sum = (pick: (shard: ShardCounts) => number) => shards.reduce((total, shard) => total + pick(shard), 0);
  const counted = { nTokens: sum(({ nTokens }) => nTokens), nSpecialTokens: sum(({ nSpecialTokens }) => nSpecialTokens), nActivations: sum(({ nActivations }) => nActivations) };
  await once(ctx, "assembled", async () => {
    await assembleDashboard(clickhouse, index, uri, signal, (doneUnits, totalUnits) => ctx.progress({ stage: "assemble", doneUnits, totalUnits, unit: "features" }));
    await countTokens(clickhouse, index, special, signal);
    await invertTokens(clickhouse, index.indexId, signal);
    await packPages(clickhouse, index, signal);
  });
  ctx.progress({ stage: "merge", doneUnits: 0, totalUnits: 1, unit: "indexes" });
  await dropIndexRows(clickhouse, index.indexId, STAGED_TABLES);
  await mergeIndexRows(clickhouse, index.indexId, signal);
  await storeExplanations(parts, ctx);
  const { alive } = await clickhouse.row<{ alive: number }>(`SELECT countIf(max_activation > 0) AS alive FROM ${T.features} WHERE index_id = {indexId:UInt32}`, { indexId: index.indexId });
  const counts = { nSequences: index.nSequences, ...counted, nFeaturesAlive: alive };
  const { corpusId, chunks, nDocuments, nSequences } = index.corpus;
  catalogue.setCorpusProgress(corpusId, { chunks, nDocuments, nSequences, nTokens: counted.nTokens, nSpecialTokens: counted.nSpecialTokens });
  catalogue.setCorpusReady(corpusId, await corpusDigest(clickhouse, corpusId, signal));
  catalogue.setIndexCounts(index.indexId, counts);
  await announceIndex(clickhouse, { ...index, ...counts });
  catalogue.setIndexState(index.indexId, "ready");
  return indexMessage(targetOf(parts, ctx.name), "ready");
}

/** Explanations belong to the SAE: pages and searches of all its indexes show them. */
async function storeExplanations(parts: ImportParts, ctx: Ctx): Promise<void> {
  const { clickhouse } = parts;
  const { indexId, sae } = targetOf(parts, ctx.name);
  for (let first = 0; ; first += EXPLANATIONS_AT_ONCE) {
    const rows = await clickhouse.rows<{ feature: number; row: string }>(
      `SELECT feature_index AS feature, row FROM ${T.importedRows} WHERE index_id = {indexId:UInt32} AND kind = 'explanation' ORDER BY feature_index, ordinal LIMIT {limit:UInt32} OFFSET {first:UInt32}`,
      { indexId, limit: EXPLANATIONS_AT_ONCE, first },
      { signal: ctx.signal },
    );
    const explanations = rows.map(({ feature, row }): Explanation => {
      const { id, description, typeName, explanationModelName } = JSON.parse(row) as Record<string, string | null>;
      return { feature, name: explanationName(sae.name, feature, id ?? ""), description: description ?? "", explanationType: typeName ?? "", explanationModel: explanationModelName ?? "", score: null };
    });
    await writeExplanations(clickhouse, sae.saeId, explanations, ctx.signal);
    if (rows.length < EXPLANATIONS_AT_ONCE) return;
  }
}

/** Name of an explanation with the id that Neuronpedia gave it. */
export function explanationName(sae: string, feature: number, id: string): string {
  return `${sae}/features/${feature}/explanations/${id}`;
}

