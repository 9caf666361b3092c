import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ExportedFilesSchema, ExportSaeDashboardRequestSchema, type ExportSaeDashboardRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { AtomicFile } from "@mistral-sae/tensor";
import { orUnavailable } from "../../clickhouse-away.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import { factsOf, type FeatureRun, featureRuns, type JsonRow, readDashboards, readGiven, readMetadata } from "../dashboard-rows.ts";
import { takeFolder } from "../export-folder.ts";
import type { DashboardExportParts } from "../neuronpedia/export-neuronpedia.ts";
import { requireReadyIndex } from "../ready-index.ts";
import { exported, finiteJson, type Written, writeFiles } from "../write-files.ts";
import { type RunFacts, toDashboardFeature } from "./rename.ts";

/** The file of one batch, or what stands beside the batches. */
type BatchShard = FeatureRun | { readonly batch: -1 };

/** SAEDashboard's own number of features a batch. */
const FEATURES_A_BATCH = 128;
const FEATURES_AT_ONCE = 32;

/**
 * The job behind ExportSaeDashboard: `batch-N.json` with features and their examples, and `run_settings.json`, as SAEDashboard's runner
 * writes them; numbers are not rounded. The same index gives the same bytes, an imported one the fields that it came with. A shard is a batch.
 */
export function exportSaeDashboardJob(parts: DashboardExportParts): Job {
  const { catalogue, clickhouse } = parts;
  return defineJob<typeof ExportSaeDashboardRequestSchema, typeof ExportedFilesSchema, BatchShard, Written>({
    kind: "export-saedashboard",
    input: ExportSaeDashboardRequestSchema,
    output: ExportedFilesSchema,
    plan: ({ index: name, uri }, ctx) =>
      orUnavailable(async () => {
        const index = requireReadyIndex(catalogue, name);
        await takeFolder(uri, ctx.state);
        return [...(await featureRuns(clickhouse, index, FEATURES_A_BATCH)), { batch: -1 } as const];
      }),
    run: (shard, ctx) =>
      orUnavailable(async () => {
        const index = requireReadyIndex(catalogue, ctx.input.index);
        return "features" in shard ? await writeBatch(parts, index, shard, ctx) : await writeSettings(parts, index, ctx.input);
      }),
    reduce: async ({ index, uri }, written) => {
      requireReadyIndex(catalogue, index);
      return await Promise.resolve(exported(uri, written));
    },
  });
}

async function writeBatch(parts: DashboardExportParts, index: IndexRecord, { batch, features }: FeatureRun, { input, signal }: JobContext<ExportSaeDashboardRequest>): Promise<Written> {
  const header = finiteJson(await headerOf(parts, index));
  const run = runFacts(index);
  const file = `batch-${batch}.json`;
  const path = join(input.uri, file);
  await using target = await AtomicFile.create(path);
  let position = 0;
  const write = async (text: string) => {
    const bytes = Buffer.from(text);
    await target.write(bytes, position);
    position += bytes.length;
  };
  await write(`${header.slice(0, -1)}, "features": [`);
  for (let from = 0; from < features.length; from += FEATURES_AT_ONCE) {
    signal.throwIfAborted();
    const rows = await dashboardFeatures(parts, index, features.slice(from, from + FEATURES_AT_ONCE), run, signal);
    for (const [i, row] of rows.entries()) await write(`${from + i === 0 ? "" : ", "}${finiteJson(row)}`);
  }
  await write("]}");
  await target.commit();
  return { files: [file], bytes: (await stat(path)).size };
}

async function dashboardFeatures(parts: DashboardExportParts, index: IndexRecord, features: readonly number[], run: RunFacts, signal: AbortSignal): Promise<JsonRow[]> {
  if (index.importedFrom === "saedashboard") {
    const given = await readGiven(parts, index, features, signal);
    return features.map((feature) => ({ ...given.get(feature)?.feature, activations: given.get(feature)?.activations ?? [] }));
  }
  const rows = await readDashboards(parts, index, features, factsOf(index), signal);
  return rows.map(({ feature, activations }) => toDashboardFeature(feature, activations, run));
}

/** What a batch says of itself beside its features. */
async function headerOf({ clickhouse }: DashboardExportParts, index: IndexRecord): Promise<JsonRow> {
  const metadata = index.importedFrom === "" ? [] : await readMetadata(clickhouse, index);
  const given = metadata.find(({ file }) => file === "batch");
  if (given !== undefined) return given.row;
  const { modelId, setName, layer } = factsOf(index);
  const from = metadata.find(({ file }) => file === "source")?.row["owner"];
  const [, owner = modelId, source = ""] = /^(.+)\/(.+)$/.exec(typeof from === "string" ? from : "") ?? [];
  const [, itsLayer, itsSet, suffix] = /^(\d+)-(.+?)(?:__(.+))?$/.exec(source) ?? [];
  return { model_id: owner, layer: Number(itsLayer ?? layer), sae_set: itsSet ?? setName, sae_id_suffix: suffix ?? null };
}

function runFacts({ corpus, nSequences }: IndexRecord): RunFacts {
  return { n_prompts_total: nSequences, n_tokens_in_prompt: corpus.contextSize, dataset: `corpora/${corpus.id}` };
}

async function writeSettings(parts: DashboardExportParts, index: IndexRecord, { uri }: ExportSaeDashboardRequest): Promise<Written> {
  if (index.importedFrom === "saedashboard") {
    const given = (await readMetadata(parts.clickhouse, index)).filter(({ file }) => file !== "batch");
    return await writeFiles(uri, given.map(({ file, row }) => [file, Buffer.from(JSON.stringify(row, undefined, 4))]));
  }
  const { n_prompts_total, n_tokens_in_prompt, dataset } = runFacts(index);
  const { model_id, layer, sae_set, sae_id_suffix } = await headerOf(parts, index);
  const settings = { model_id, layer, sae_set, np_sae_id_suffix: sae_id_suffix, sae_path: index.sae.name, outputs_dir: ".", huggingface_dataset_path: dataset, n_prompts_total, n_tokens_in_prompt };
  return await writeFiles(uri, [["run_settings.json", Buffer.from(JSON.stringify(settings, undefined, 4))]]);
}
