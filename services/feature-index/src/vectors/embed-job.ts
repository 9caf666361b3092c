import { EmbedExplanationsRequestSchema, ExplanationVectorsSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { ClickHouse, Login } from "@mistral-sae/clickhouse";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord, SaeRecord } from "../catalogue/records.ts";
import { orUnavailable } from "../clickhouse-away.ts";
import { dropIndexRows } from "../store/table-facts.ts";
import { T, VECTOR_TABLES } from "../store/tables.ts";
import { WorkerPool } from "../workers/worker-pool.ts";
import type { Changes } from "./changes.ts";
import { countVectors, rangesMissing, readMissing, sweepVectors, writeVectors } from "./missing-vectors.ts";
import { ownSourceId } from "./own-source.ts";
import { OWN_METHOD } from "./own-space.ts";
import type { VectorSources } from "./sources.ts";
import type { SpaceResult, SpaceTask, SpaceWorkerData } from "./space-worker.ts";
import type { VectorSource } from "./vector-source.ts";

/** What embedding works with. */
export interface EmbedParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly sources: VectorSources;
  readonly changes: Changes;
  readonly url: string;
  readonly owner: Login;
}

/** A piece of the work. */
export type EmbedShard =
  | { readonly kind: "space"; readonly indexId: number }
  | { readonly kind: "explanations"; readonly saeId: number; readonly indexId: number; readonly start: number }
  | { readonly kind: "sweep"; readonly saeId: number };

export const EMBED_KIND = "embed-explanations";
const TEXTS_A_CALL = 256;

/**
 * The job behind EmbedExplanations: spaces of indexes that have none where vectors are our own, then the vectors of explanations that
 * have none or one of an older text, a range of features a shard, then those of former sources go. What is stored is not done again.
 * It takes no slot, so that building an index does not keep new explanations from being found.
 */
export function embedJob(parts: EmbedParts): Job {
  const { clickhouse, catalogue, sources, changes } = parts;
  return defineJob<typeof EmbedExplanationsRequestSchema, typeof ExplanationVectorsSchema, EmbedShard, null>({
    kind: EMBED_KIND,
    input: EmbedExplanationsRequestSchema,
    output: ExplanationVectorsSchema,
    takesSlot: false,
    plan: async ({ sae }) => await orUnavailable(async () => await missingOf(parts, sae)),
    run: async (shard, ctx) =>
      await orUnavailable(async () => {
        if (shard.kind === "space") await buildSpace(parts, shard.indexId, ctx.signal);
        else if (shard.kind === "sweep") {
          if (await sweepVectors(clickhouse, shard.saeId, sourceIds(parts, shard.saeId), ctx.signal)) changes.removed(shard.saeId);
        } else {
          const source = sourceOf(parts, shard.indexId);
          if (source !== undefined) await embedRange(parts, source, shard.saeId, shard.start, ctx);
        }
        return null;
      }),
    reduce: async ({ sae }) =>
      await orUnavailable(async () => {
        const saeIds = catalogue.saes().filter(({ name }) => name === sae).map(({ saeId }) => saeId);
        const ids = [...new Set(saeIds.flatMap((saeId) => sourceIds(parts, saeId)))];
        return { source: sources.external?.id ?? OWN_METHOD, nVectors: BigInt(await countVectors(clickhouse, saeIds, ids)) };
      }),
  });
}

/** What an SAE lacks; nothing where all is there. */
export async function missingOf(parts: EmbedParts, sae: string): Promise<EmbedShard[]> {
  const { clickhouse, catalogue, sources } = parts;
  const shards: EmbedShard[] = [];
  for (const record of catalogue.saes().filter(({ name }) => name === sae)) {
    const own = readyIndexes(catalogue, record);
    const lacking = shards.length;
    if (sources.external === undefined) for (const { indexId } of own) if (!(await sources.hasSpace(indexId))) shards.push({ kind: "space", indexId });
    const targets = sources.external === undefined ? own.map((index) => ({ indexId: index.indexId, source: ownSourceId(index) })) : [{ indexId: 0, source: sources.external.id }];
    for (const { indexId, source } of targets) {
      for (const start of await rangesMissing(clickhouse, record.saeId, source)) shards.push({ kind: "explanations", saeId: record.saeId, indexId, start });
    }
    if (shards.length > lacking) shards.push({ kind: "sweep", saeId: record.saeId });
  }
  return shards;
}

async function embedRange({ clickhouse, changes }: EmbedParts, source: VectorSource, saeId: number, start: number, ctx: JobContext): Promise<void> {
  const { signal } = ctx;
  const rows = await readMissing(clickhouse, saeId, source.id, start, signal);
  for (let at = 0; at < rows.length; at += TEXTS_A_CALL) {
    const part = rows.slice(at, at + TEXTS_A_CALL);
    const { vectors, nInPieces } = await source.embed(part.map(({ description }) => description), "text", signal);
    await writeVectors(clickhouse, saeId, source.id, part, vectors, signal);
    changes.written(saeId);
    if (nInPieces > 0) ctx.warn("some explanations are longer than what the model reads at once: their vectors are the means of their pieces'");
  }
}

async function buildSpace({ clickhouse, catalogue, sources, url, owner }: EmbedParts, indexId: number, signal: AbortSignal): Promise<void> {
  const index = catalogue.indexes().find((record) => record.indexId === indexId);
  if (index === undefined || (await sources.hasSpace(indexId))) return;
  await dropIndexRows(clickhouse, indexId, VECTOR_TABLES);
  await using pool = new WorkerPool(new URL("./space-worker.ts", import.meta.url), 1, { url, login: owner } satisfies SpaceWorkerData);
  const { dimension, singularValues } = await pool.until(signal, pool.run<SpaceResult>({ indexId, dSae: index.sae.dSae } satisfies SpaceTask));
  const row = { indexId, method: OWN_METHOD, dimension, values: singularValues };
  await clickhouse.command(`INSERT INTO ${T.vectorSpaces} (index_id, method, dimension, singular_values) SELECT {indexId:UInt32}, {method:String}, {dimension:UInt16}, {values:Array(Float32)}`, row);
  signal.throwIfAborted();
}

function readyIndexes(catalogue: Catalogue, { saeId }: SaeRecord): IndexRecord[] {
  return catalogue.indexes().filter((index) => index.state === "ready" && index.sae.saeId === saeId);
}

function sourceIds({ catalogue, sources }: EmbedParts, saeId: number): string[] {
  if (sources.external !== undefined) return [sources.external.id];
  return catalogue.indexes().filter((index) => index.sae.saeId === saeId).map(ownSourceId);
}

function sourceOf({ catalogue, sources }: EmbedParts, indexId: number): VectorSource | undefined {
  if (sources.external !== undefined) return sources.external;
  const index = catalogue.indexes().find((record) => record.indexId === indexId);
  return index === undefined ? undefined : sources.of(index);
}
