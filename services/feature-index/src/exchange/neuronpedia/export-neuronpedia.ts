import { stat } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { ExportedFilesSchema, ExportNeuronpediaRequestSchema, type ExportNeuronpediaRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { internal } from "@mistral-sae/rpc";
import { atomicWriteFile } from "@mistral-sae/tensor";
import { orUnavailable } from "../../clickhouse-away.ts";
import type { Catalogue } from "../../catalogue/catalogue.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import type { FeaturePages } from "../../serving/feature-pages.ts";
import { defaultContext } from "../../wire/example-message.ts";
import { takeFolder } from "../export-folder.ts";
import { requireReadyIndex } from "../ready-index.ts";
import { metadataFiles } from "./metadata.ts";
import { activationRow, explanationRows, featureRow, type RowFacts } from "./rows.ts";
import { sourceNames } from "./source-names.ts";

export interface NeuronpediaParts {
  readonly catalogue: Catalogue;
  readonly pages: FeaturePages;
}

/** The files of one batch of features; batch -1 is the folder's metadata. */
interface BatchShard {
  readonly batch: number;
}

interface Written {
  readonly files: readonly string[];
  readonly bytes: number;
}

/** Features of a batch: with some 45 examples each well below what the importer takes at a time. */
const FEATURES_A_BATCH = 256;
/** Features read from the index at a time. */
const FEATURES_AT_ONCE = 32;

const compress = promisify(gzip);

/**
 * The job behind ExportNeuronpedia: `{modelId}/{sourceId}/` with the four metadata files and batches of features, activations
 * and explanations as Neuronpedia's exports have them. The same index gives the same bytes. A shard is a batch.
 */
export function exportNeuronpediaJob({ catalogue, pages }: NeuronpediaParts): Job {
  return defineJob<typeof ExportNeuronpediaRequestSchema, typeof ExportedFilesSchema, BatchShard, Written>({
    kind: "export-neuronpedia",
    input: ExportNeuronpediaRequestSchema,
    output: ExportedFilesSchema,
    plan: async ({ index: name, uri }, ctx) => {
      const index = requireReadyIndex(catalogue, name);
      await takeFolder(uri, ctx.state);
      return Array.from({ length: Math.ceil(index.sae.dSae / FEATURES_A_BATCH) + 1 }, (_, at) => ({ batch: at - 1 }));
    },
    run: ({ batch }, ctx) => {
      const index = requireReadyIndex(catalogue, ctx.input.index);
      return batch < 0 ? writeMetadata(index, ctx.input) : orUnavailable(async () => await writeBatch(pages, index, batch, ctx));
    },
    reduce: async ({ index, uri }, written) => {
      requireReadyIndex(catalogue, index);
      return await Promise.resolve({ uri, fileNames: written.flatMap(({ files }) => files), sizeBytes: BigInt(written.reduce((sum, { bytes }) => sum + bytes, 0)) });
    },
  });
}

async function writeMetadata(index: IndexRecord, { uri }: ExportNeuronpediaRequest): Promise<Written> {
  const { modelId, sourceId } = sourceNames(index);
  return await writeFiles(uri, metadataFiles(index, factsOf(index)).map(([file, row]) => [`${modelId}/${sourceId}/${file}`, Buffer.from(lines([row]))]));
}

async function writeBatch(pages: FeaturePages, index: IndexRecord, batch: number, { input, signal }: JobContext<ExportNeuronpediaRequest>): Promise<Written> {
  const facts = factsOf(index);
  const corpus = `corpora/${index.corpus.id}`;
  const rows = { features: [] as unknown[], activations: [] as unknown[], explanations: [] as unknown[] };
  const end = Math.min(index.sae.dSae, (batch + 1) * FEATURES_A_BATCH);
  for (let from = batch * FEATURES_A_BATCH; from < end; from += FEATURES_AT_ONCE) {
    const wanted = Array.from({ length: Math.min(FEATURES_AT_ONCE, end - from) }, (_, at) => from + at);
    for (const feature of await pages.full(index, wanted, defaultContext, signal)) {
      const { featureIndex = 0, examples = [] } = feature;
      rows.features.push(featureRow(facts, feature));
      rows.activations.push(...examples.map((example, ordinal) => activationRow(facts, featureIndex, ordinal, example, corpus)));
      rows.explanations.push(...explanationRows(facts, feature));
    }
  }
  const files = Object.entries(rows).filter(([, list]) => list.length > 0);
  const packed = files.map(async ([kind, list]) => [`${facts.modelId}/${facts.sourceId}/${kind}/batch-${batch}.jsonl.gz`, await compress(lines(list), { level: 5 })] as const);
  return await writeFiles(input.uri, await Promise.all(packed));
}

async function writeFiles(folder: string, files: readonly (readonly [string, Uint8Array])[]): Promise<Written> {
  let bytes = 0;
  for (const [file, content] of files) {
    const path = join(folder, file);
    await atomicWriteFile(path, content);
    bytes += (await stat(path)).size;
  }
  return { files: files.map(([file]) => file), bytes };
}

function factsOf(index: IndexRecord): RowFacts {
  return { ...sourceNames(index), hookName: index.sae.hookName, seed: `${index.sae.digest}/${index.corpus.digest}/${index.id}`, createdAt: new Date(index.createdMs).toISOString() };
}

/** One JSON object a line. JSON has no NaN, and its importer would take the null that stands for one. */
function lines(rows: readonly unknown[]): string {
  const finite = (key: string, value: unknown): unknown => {
    if (typeof value === "number" && !Number.isFinite(value)) throw internal("NOT_FINITE", `${key} is ${value}, wanted a finite number: the index is damaged, build it anew`);
    return value;
  };
  return rows.map((row) => `${JSON.stringify(row, finite)}\n`).join("");
}
