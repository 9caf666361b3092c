import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import { ExportedFilesSchema, type ExportParquetRequest, ExportParquetRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { AtomicFile } from "@mistral-sae/tensor";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { orUnavailable } from "../clickhouse-away.ts";
import { T, VIEWS_DATABASE } from "../store/tables.ts";
import { takeFolder } from "./export-folder.ts";
import { requireReadyIndex } from "./ready-index.ts";

/** What exports work with. */
export interface ExportParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
}

/** One file: a view's rows, of a range of features for activations. */
interface FileShard {
  readonly file: string;
  readonly view: keyof typeof sources;
  readonly from?: number;
  /** One past the last feature. */
  readonly to?: number;
}

interface Written {
  readonly file: string;
  readonly bytes: number;
}

/** Activations of a file, about; they are sorted in memory. */
const ACTIVATIONS_A_FILE = 8_000_000;

/** Rows of an index in each view, in an order that readers can rely on. */
const sources = {
  indexes: "SELECT * REPLACE (toBool(include_special_tokens) AS include_special_tokens) FROM {db}.indexes WHERE index_id = {index_id:UInt32}",
  features: "SELECT * EXCEPT (index_id) REPLACE (toBool(dead) AS dead) FROM {db}.features WHERE index_id = {index_id:UInt32} ORDER BY feature_index",
  activations:
    "SELECT feature_index, sequence_id, token_index, toBool(is_special) AS is_special, activation FROM {db}.activations WHERE index_id = {index_id:UInt32} AND feature_index >= {from:UInt32} AND feature_index < {to:UInt32} ORDER BY feature_index, sequence_id, token_index",
  documents: "SELECT * EXCEPT (corpus) REPLACE (toBool(held_back) AS held_back) FROM {db}.documents WHERE corpus = {corpus:String} ORDER BY doc_id",
  sequences: "SELECT * EXCEPT (corpus) FROM {db}.sequences WHERE corpus = {corpus:String} ORDER BY sequence_id",
  tokens: "SELECT token_id, str_token, n FROM {db}.tokens WHERE index_name = {index_name:String} ORDER BY token_id",
  explanations: "SELECT * EXCEPT (sae) FROM {db}.explanations WHERE sae = {sae:String} ORDER BY feature_index, name",
} as const;

const SETTINGS = { output_format_parquet_compression_method: "zstd", output_format_parquet_row_group_size: "1000000", output_format_parquet_string_as_string: 1 } as const;

/**
 * The job behind ExportParquet: the documented views of one index as Parquet files (zstd), one a view and one for each eight
 * million activations, sorted. A file appears whole or not at all; a shard is a file.
 */
export function exportParquetJob({ clickhouse, catalogue }: ExportParts): Job {
  return defineJob<typeof ExportParquetRequestSchema, typeof ExportedFilesSchema, FileShard, Written>({
    kind: "export-parquet",
    input: ExportParquetRequestSchema,
    output: ExportedFilesSchema,
    plan: (input, ctx) =>
      orUnavailable(async () => {
        const index = requireReadyIndex(catalogue, input.index);
        await takeFolder(input.uri, ctx.state);
        return await planFiles(clickhouse, index);
      }),
    run: (shard, ctx) => orUnavailable(async () => await writeFile(clickhouse, requireReadyIndex(catalogue, ctx.input.index), shard, ctx)),
    reduce: async ({ index, uri }, files) => {
      // Rows of an index that was deleted meanwhile were missing from what was written after.
      requireReadyIndex(catalogue, index);
      return await Promise.resolve({ uri, fileNames: files.map(({ file }) => file), sizeBytes: BigInt(files.reduce((sum, { bytes }) => sum + bytes, 0)) });
    },
  });
}

async function planFiles(clickhouse: ClickHouse, index: IndexRecord): Promise<readonly FileShard[]> {
  const whole = (view: keyof typeof sources): FileShard => ({ file: `${view}.parquet`, view });
  const ranges = await featureRanges(clickhouse, index);
  const activations = ranges.map(({ from, to }, at): FileShard => ({ file: `activations-${String(at).padStart(5, "0")}.parquet`, view: "activations", from, to }));
  return [whole("indexes"), whole("features"), ...activations, whole("documents"), whole("sequences"), whole("tokens"), whole("explanations")];
}

/** Ranges of features that together have about a file's activations; every feature is in one of them. */
async function featureRanges(clickhouse: ClickHouse, { indexId, sae }: IndexRecord): Promise<{ readonly from: number; readonly to: number }[]> {
  const parts = await clickhouse.rows<{ from: number }>(
    `SELECT min(feature_index) AS from FROM (
       SELECT feature_index, sum(n) OVER (ORDER BY feature_index ROWS UNBOUNDED PRECEDING) - n AS before
       FROM (SELECT feature_index, sum(n) AS n FROM ${T.postings} WHERE index_id = {indexId:UInt32} GROUP BY feature_index))
     GROUP BY intDiv(before, {most:UInt64}) ORDER BY from`,
    { indexId, most: ACTIVATIONS_A_FILE },
  );
  const starts = [0, ...parts.slice(1).map(({ from }) => from)];
  return starts.map((from, at) => ({ from, to: starts[at + 1] ?? sae.dSae }));
}

async function writeFile(clickhouse: ClickHouse, index: IndexRecord, { file, view, from = 0, to = 0 }: FileShard, { input, signal }: JobContext<ExportParquetRequest>): Promise<Written> {
  const sql = sources[view].replace("{db}", VIEWS_DATABASE);
  const all = { index_id: index.indexId, index_name: `indexes/${index.id}`, corpus: `corpora/${index.corpus.id}`, sae: index.sae.name, from, to };
  // ClickHouse refuses values of parameters that a statement does not name.
  const params = Object.fromEntries(Object.entries(all).filter(([name]) => sql.includes(`{${name}:`)));
  const path = join(input.uri, file);
  await using target = await AtomicFile.create(path);
  let position = 0;
  for await (const bytes of clickhouse.bytes(sql, "Parquet", params, { signal, settings: SETTINGS })) {
    await target.write(bytes, position);
    position += bytes.length;
  }
  await target.commit();
  return { file, bytes: (await stat(path)).size };
}
