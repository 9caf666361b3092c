import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import { ExportDelphiCacheRequestSchema, ExportedFilesSchema, type ExportDelphiCacheRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { defineJob, type Job, type JobContext } from "@mistral-sae/jobs";
import { failedPrecondition } from "@mistral-sae/rpc";
import { atomicWriteFile, bytesOf, SafetensorsWriter } from "@mistral-sae/tensor";
import { BlockLayout } from "../../blocks/block-layout.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import { orUnavailable } from "../../clickhouse-away.ts";
import { T } from "../../store/tables.ts";
import { requireActivations } from "../dashboards.ts";
import { takeFolder } from "../export-folder.ts";
import type { ExportParts } from "../export-parquet.ts";
import { requireReadyIndex } from "../ready-index.ts";
import { modulePath } from "./module-path.ts";
import { readActivations } from "./read-activations.ts";
import { planSplits, splitBounds, type Split } from "./splits.ts";

interface Written {
  readonly files: readonly string[];
  readonly bytes: number;
}

/** Largest finite f16. */
const MOST_F16 = 65_504;
/** What 16 bits can name. */
const U16 = 65_536;
/** Stands behind the last token of windows that are shorter than the others; no activation is ever on it. */
const PADDING_TOKEN = 0;
const SEQUENCES_AT_ONCE = 4096;

/**
 * The job behind ExportDelphiCache: `{module path}/{first}_{last}.safetensors` with locations [n, 3] (window, position, latent
 * within the file), activations F16 [n] and tokens [windows, context], and config.json, as Delphi's cache has them. Activations
 * on special tokens are among them. A shard is a file.
 */
export function exportDelphiJob({ clickhouse, catalogue }: ExportParts): Job {
  return defineJob<typeof ExportDelphiCacheRequestSchema, typeof ExportedFilesSchema, Split, Written>({
    kind: "export-delphi-cache",
    input: ExportDelphiCacheRequestSchema,
    output: ExportedFilesSchema,
    plan: ({ index: name, uri }, ctx) =>
      orUnavailable(async () => {
        const index = requireReadyIndex(catalogue, name);
        modulePath(index.sae.hookName);
        requireActivations(index, "where every feature fires");
        await takeFolder(uri, ctx.state);
        const { most } = await clickhouse.row<{ most: number }>(`SELECT max(if(notEmpty(acts_f32), arrayMax(acts_f32), max_activation)) AS most FROM ${T.postings} WHERE index_id = {indexId:UInt32}`, { indexId: index.indexId });
        if (most > MOST_F16) throw failedPrecondition("ACTIVATION_TOO_LARGE", `${name} holds an activation of ${most}, and Delphi's F16 ends at ${MOST_F16}; export it as Parquet`, { index: name });
        return await planSplits(clickhouse, index.indexId, index.sae.dSae);
      }),
    run: (split, ctx) => orUnavailable(async () => await writeSplit(clickhouse, requireReadyIndex(catalogue, ctx.input.index), split, ctx)),
    reduce: async ({ index: name, uri }, written) => {
      const index = requireReadyIndex(catalogue, name);
      const config = await writeConfig(index, uri);
      const all = [...written, config];
      return { uri, fileNames: all.flatMap(({ files }) => files), sizeBytes: BigInt(all.reduce((sum, { bytes }) => sum + bytes, 0)) };
    },
  });
}

async function writeSplit(clickhouse: ClickHouse, index: IndexRecord, { start, end, n, pieces }: Split, { input, signal }: JobContext<ExportDelphiCacheRequest>): Promise<Written> {
  const { contextSize } = index.corpus;
  const layout = new BlockLayout(contextSize, index.nSequences);
  const wide = index.nSequences > U16 || end - start > U16 || contextSize > U16;
  const file = join(modulePath(index.sae.hookName), `${start}_${end - 1}.safetensors`);
  const path = join(input.uri, file);
  await using writer = await SafetensorsWriter.create(path, {
    locations: { dtype: wide ? "U32" : "U16", shape: [n, 3] },
    activations: { dtype: "F16", shape: [n] },
    tokens: { dtype: "U32", shape: [index.nSequences, contextSize] },
  });
  for (const piece of pieces) {
    signal.throwIfAborted();
    const locations: (Uint16Array | Uint32Array)[] = [];
    const activations: Float16Array[] = [];
    await readActivations(clickhouse, { indexId: index.indexId, start: piece.start, end: piece.end }, (feature, block, pos, acts) => {
      const rows = wide ? new Uint32Array(pos.length * 3) : new Uint16Array(pos.length * 3);
      for (const [at, position] of pos.entries()) rows.set([layout.sequenceAt(block, position), layout.tokenAt(position), feature - start], at * 3);
      locations.push(rows);
      const halves = Float16Array.from(acts);
      if (halves.includes(0)) throw failedPrecondition("ACTIVATION_TOO_SMALL", `feature ${feature} has an activation of ${Math.min(...acts)}, which is 0 in Delphi's F16; export the index as Parquet`);
      activations.push(halves);
    });
    for (const rows of locations) await writer.append("locations", bytesOf(rows));
    for (const values of activations) await writer.append("activations", bytesOf(values));
  }
  for (let first = 0; first < index.nSequences; first += SEQUENCES_AT_ONCE) {
    signal.throwIfAborted();
    await writer.append("tokens", bytesOf(await readTokens(clickhouse, index, first, Math.min(index.nSequences, first + SEQUENCES_AT_ONCE))));
  }
  await writer.commit();
  return { files: [file], bytes: (await stat(path)).size };
}

/** Tokens of the windows [first, end), [end - first, context]. */
async function readTokens(clickhouse: ClickHouse, { corpus }: IndexRecord, first: number, end: number): Promise<Uint32Array> {
  const windows = await clickhouse.rows<{ sequence: number; tokens: number[] }>(
    `SELECT sequence_id AS sequence, tokens FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id >= {first:UInt32} AND sequence_id < {end:UInt32} ORDER BY sequence_id`,
    { corpusId: corpus.corpusId, first, end },
  );
  const ids = new Uint32Array((end - first) * corpus.contextSize).fill(PADDING_TOKEN);
  for (const { sequence, tokens } of windows) ids.set(tokens, (sequence - first) * corpus.contextSize);
  return ids;
}

async function writeConfig({ sae, corpus, nTokens }: IndexRecord, uri: string): Promise<Written> {
  const config = {
    model_name: corpus.model.replace(/^models\//, ""),
    dataset_repo: `corpora/${corpus.id}`,
    dataset_split: "train",
    dataset_name: "",
    dataset_column: "text",
    batch_size: 1,
    ctx_len: corpus.contextSize,
    cache_ctx_len: corpus.contextSize,
    n_tokens: nTokens,
    n_splits: splitBounds(sae.dSae).length,
    padding_token_id: PADDING_TOKEN,
  };
  const file = join(modulePath(sae.hookName), "config.json");
  const bytes = Buffer.from(`${JSON.stringify(config, undefined, 4)}\n`);
  await atomicWriteFile(join(uri, file), bytes);
  return { files: [file], bytes: bytes.length };
}
