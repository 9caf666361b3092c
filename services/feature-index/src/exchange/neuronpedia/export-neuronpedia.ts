import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { ExportedFilesSchema, ExportNeuronpediaRequestSchema, type ExportNeuronpediaRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { orUnavailable } from "../../clickhouse-away.ts";
import type { Catalogue } from "../../catalogue/catalogue.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import { type DashboardParts, factsOf, type FeatureRun, featureRuns, readDashboards, readMetadata } from "../dashboard-rows.ts";
import { takeFolder } from "../export-folder.ts";
import { requireReadyIndex } from "../ready-index.ts";
import { exported, jsonLines, type Written, writeFiles } from "../write-files.ts";
import { metadataFiles } from "./metadata.ts";

/** What exports of dashboards work with. */
export interface DashboardExportParts extends DashboardParts {
  readonly catalogue: Catalogue;
}

/** The files of one batch of features, or the folder's metadata. */
type BatchShard = FeatureRun | { readonly batch: -1 };

/** Features of a batch: with some 45 examples each well below what the importer takes at a time. */
const FEATURES_A_BATCH = 256;
/** Features read from the index at a time. */
const FEATURES_AT_ONCE = 32;

const compress = promisify(gzip);

/**
 * The job behind ExportNeuronpedia: `{modelId}/{sourceId}/` with the metadata files and batches of features, activations and
 * explanations as Neuronpedia's exports have them. The same index gives the same bytes, an imported one the fields that it came with.
 * A shard is a batch.
 */
export function exportNeuronpediaJob(parts: DashboardExportParts): Job {
  const { catalogue, clickhouse } = parts;
  return defineJob<typeof ExportNeuronpediaRequestSchema, typeof ExportedFilesSchema, BatchShard, Written>({
    kind: "export-neuronpedia",
    input: ExportNeuronpediaRequestSchema,
    output: ExportedFilesSchema,
    plan: ({ index: name, uri }, ctx) =>
      orUnavailable(async () => {
        const index = requireReadyIndex(catalogue, name);
        await takeFolder(uri, ctx.state);
        return [{ batch: -1 } as const, ...(await featureRuns(clickhouse, index, FEATURES_A_BATCH))];
      }),
    run: (shard, ctx) =>
      orUnavailable(async () => {
        const index = requireReadyIndex(catalogue, ctx.input.index);
        return "features" in shard ? await writeBatch(parts, index, shard, ctx) : await writeMetadata(parts, index, ctx.input);
      }),
    reduce: async ({ index, uri }, written) => {
      requireReadyIndex(catalogue, index);
      return await Promise.resolve(exported(uri, written));
    },
  });
}

async function writeMetadata({ clickhouse }: DashboardExportParts, index: IndexRecord, { uri }: ExportNeuronpediaRequest): Promise<Written> {
  const folder = await sourceFolder({ clickhouse }, index);
  if (index.importedFrom !== "neuronpedia") return await writeFiles(uri, metadataFiles(index, factsOf(index)).map(([file, row]) => [`${folder}/${file}`, Buffer.from(jsonLines([row]))]));
  const byFile = Map.groupBy((await readMetadata(clickhouse, index)).filter(({ file }) => file !== "source"), ({ file }) => file);
  return await writeFiles(uri, [...byFile].map(([file, rows]) => [file.startsWith("config/") ? file : `${folder}/${file}`, Buffer.from(jsonLines(rows.map(({ row }) => row)))]));
}

async function writeBatch(parts: DashboardExportParts, index: IndexRecord, { batch, features }: FeatureRun, { input, signal }: JobContext<ExportNeuronpediaRequest>): Promise<Written> {
  const facts = factsOf(index);
  const folder = await sourceFolder(parts, index);
  const lines = { features: "", activations: "", explanations: "" };
  for (let from = 0; from < features.length; from += FEATURES_AT_ONCE) {
    const rows = await readDashboards(parts, index, features.slice(from, from + FEATURES_AT_ONCE), facts, signal);
    lines.features += jsonLines(rows.map(({ feature }) => feature));
    lines.activations += jsonLines(rows.flatMap(({ activations }) => activations));
    lines.explanations += jsonLines(rows.flatMap(({ explanations }) => explanations));
  }
  const files = Object.entries(lines).filter(([, text]) => text !== "");
  const packed = files.map(async ([kind, text]) => [`${folder}/${kind}/batch-${batch}.jsonl.gz`, await compress(text, { level: 5 })] as const);
  return await writeFiles(input.uri, await Promise.all(packed));
}

/** `{modelId}/{sourceId}`, as it was imported or as the SAE is named. */
async function sourceFolder({ clickhouse }: Pick<DashboardExportParts, "clickhouse">, index: IndexRecord): Promise<string> {
  const { modelId, sourceId } = factsOf(index);
  if (index.importedFrom !== "neuronpedia") return `${modelId}/${sourceId}`;
  const source = (await readMetadata(clickhouse, index)).find(({ file }) => file === "source");
  return typeof source?.row["owner"] === "string" ? source.row["owner"] : `${modelId}/${sourceId}`;
}
