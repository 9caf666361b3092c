import { createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { once } from "node:events";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { createGzip } from "node:zlib";
import { bytesOf, f32FromBf16, SafetensorsWriter } from "@mistral-sae/tensor";
import { hash, rowsFor, type Shape, SyntheticCodes, SyntheticText, tokenText } from "./synthetic.ts";

const SPLITS = 5;
const BOS = 1;

/** Writes a latent cache of about so many activations, in the order in which Delphi writes them. Returns how many. */
export async function writeCache(folder: string, module: string, shape: Shape, activations: number): Promise<number> {
  const { contextSize, k, dSae } = shape;
  const windows = Math.ceil(activations / (k * contextSize));
  const codes = new SyntheticCodes(shape);
  const text = new SyntheticText(shape);
  const tokens = new Uint32Array(windows * contextSize);
  let doc = 0;
  for (let at = 0; at < tokens.length; ) {
    const words = text.document(doc++);
    tokens.set(words.subarray(0, tokens.length - at), at);
    at += words.length;
  }
  for (let window = 0; window < windows; window++) tokens[window * contextSize] = BOS;
  const bounds = Array.from({ length: SPLITS + 1 }, (_, i) => Math.trunc((dSae * i) / SPLITS));
  const each = async (split: number, take: (window: number, token: number, feature: number, act: number) => void) => {
    const rows = rowsFor(contextSize, k);
    const acts = new Float32Array(rows.acts.length);
    for (let window = 0; window < windows; window++) {
      codes.window(tokens.subarray(window * contextSize, (window + 1) * contextSize), rows, 0);
      f32FromBf16(rows.acts, acts);
      for (let i = 0; i < rows.indices.length; i++) {
        const feature = rows.indices[i] as number;
        if (feature >= (bounds[split] as number) && feature < (bounds[split + 1] as number)) take(window, Math.floor(i / k), feature, acts[i] as number);
      }
    }
  };
  await mkdir(join(folder, module), { recursive: true });
  let total = 0;
  for (let split = 0; split < SPLITS; split++) {
    let n = 0;
    await each(split, () => (n += 1));
    const [start = 0, end = 0] = bounds.slice(split);
    const locations = new Uint16Array(3 * n);
    const values = new Float16Array(n);
    let at = 0;
    await each(split, (window, token, feature, act) => {
      locations.set([window, token, feature - start], 3 * at);
      // A little more than bfloat16 can say.
      values[at++] = act * (1 + (hash(window, token, feature) % 64) / 16_384);
    });
    await using writer = await SafetensorsWriter.create(join(folder, module, `${start}_${end - 1}.safetensors`), {
      locations: { dtype: "U16", shape: [n, 3] },
      activations: { dtype: "F16", shape: [n] },
      tokens: { dtype: "U32", shape: [windows, contextSize] },
    });
    await writer.append("locations", bytesOf(locations));
    await writer.append("activations", new Uint8Array(values.buffer));
    await writer.append("tokens", bytesOf(tokens));
    await writer.commit();
    total += n;
  }
  await writeFile(join(folder, module, "config.json"), JSON.stringify({ dataset_repo: "synthetic", cache_ctx_len: contextSize, n_splits: SPLITS, model_name: "bench", n_tokens: tokens.length }));
  return total;
}

/** Examples of a feature as Neuronpedia's converter writes them: 20 with the largest activations, and 5 in each of 5 intervals. */
const GROUPS = [20, 5, 5, 5, 5, 5] as const;
export const EXAMPLES_A_FEATURE = GROUPS.reduce((sum, n) => sum + n, 0);

/** Writes a folder of Neuronpedia's batches, or one of SAEDashboard's, with features from 0 on. */
export async function writeDashboards(folder: string, format: "neuronpedia" | "saedashboard", shape: Shape, features: number): Promise<void> {
  const batch = 128;
  for (let at = 0; at * batch < features; at++) {
    const numbers = Array.from({ length: Math.min(batch, features - at * batch) }, (_, i) => at * batch + i);
    if (format === "saedashboard") await writeBatch(join(folder, `batch-${at}.json`), shape, numbers);
    else {
      const source = join(folder, "bench/16-bench");
      await packed(join(source, "features"), at, numbers.map((feature) => neuronRow(feature)));
      await packed(join(source, "activations"), at, numbers.flatMap((feature) => examplesOf(shape, feature).map((example, i) => ({ id: `c${feature}-${i}`, ...KEY, index: String(feature), ...example, ...NOTHING }))));
    }
  }
}

const KEY = { modelId: "bench", layer: "16-bench" } as const;
const NOTHING = { creatorId: null, createdAt: "2026-08-01T00:00:00.000Z", dataSource: null, dataIndex: null, dfaValues: [], dfaTargetIndex: null, dfaMaxValue: null, lossValues: [], logitContributions: null, zIndices: null, zValues: null } as const;

interface ExampleRow {
  readonly tokens: readonly string[];
  readonly values: readonly number[];
  readonly maxValue: number;
  readonly maxValueTokenIndex: number;
  readonly minValue: number;
  readonly binMin: number;
  readonly binMax: number;
  readonly binContains: number;
  readonly qualifyingTokenIndex: number;
}

function examplesOf({ contextSize, dVocab }: Shape, feature: number): ExampleRow[] {
  return GROUPS.flatMap((n, group) =>
    Array.from({ length: n }, (_, i) => {
      const seed = hash(feature, group, i);
      const tokens = Array.from({ length: contextSize }, (_, at) => tokenText(3 + (hash(seed, at) % (dVocab - 3))));
      const top = hash(seed, 7) % contextSize;
      const values = Array.from({ length: contextSize }, (_, at) => (at === top || hash(seed, at, 3) % 20 === 0 ? Number((((at === top ? 8 : 4) * (6 - group)) / 6 - (hash(seed, at, 5) % 1000) / 2000).toFixed(3)) : 0));
      const maxValue = Math.max(...values);
      const bins = group === 0 ? { binMin: -1, binMax: maxValue, binContains: -1 } : { binMin: 5 - group, binMax: 6 - group, binContains: 0.2 };
      return { tokens, values, maxValue, maxValueTokenIndex: values.indexOf(maxValue), minValue: 0, ...bins, qualifyingTokenIndex: top };
    }),
  );
}

function neuronRow(feature: number): Record<string, unknown> {
  const bars = Array.from({ length: 50 }, (_, i) => i);
  return {
    ...KEY, index: String(feature), sourceSetName: null, creatorId: null, createdAt: NOTHING.createdAt, maxActApprox: 8, hasVector: false, vector: [], vectorLabel: null, hookName: "blocks.16.hook_resid_post", vectorDefaultSteerStrength: 10,
    topkCosSimIndices: [], topkCosSimValues: [], neuron_alignment_indices: [], neuron_alignment_values: [], neuron_alignment_l1: [], correlated_neurons_indices: [], correlated_neurons_pearson: [], correlated_neurons_l1: [],
    correlated_features_indices: [], correlated_features_pearson: [], correlated_features_l1: [], neg_str: [tokenText(3)], neg_values: [-1], pos_str: [tokenText(4)], pos_values: [1], frac_nonzero: 0.001,
    freq_hist_data_bar_heights: bars.map((i) => hash(feature, i) % 1000), freq_hist_data_bar_values: bars.map((i) => i / 8), logits_hist_data_bar_heights: bars, logits_hist_data_bar_values: bars, decoder_weights_dist: [],
  };
}

async function packed(folder: string, batch: number, rows: readonly unknown[]): Promise<void> {
  await mkdir(folder, { recursive: true });
  await pipeline(Readable.from(rows.map((row) => `${JSON.stringify(row)}\n`)), createGzip({ level: 5 }), createWriteStream(join(folder, `batch-${batch}.jsonl.gz`)));
}

async function writeBatch(path: string, shape: Shape, features: readonly number[]): Promise<void> {
  await mkdir(join(path, ".."), { recursive: true });
  const file = createWriteStream(path);
  file.write('{"model_id": "bench", "layer": 16, "sae_set": "bench", "sae_id_suffix": null, "features": [');
  for (const [i, feature] of features.entries()) {
    const { modelId: _m, layer: _l, index: _i, sourceSetName: _s, creatorId: _c, createdAt: _t, maxActApprox: _x, hasVector: _h, vectorLabel: _v, hookName: _k, vectorDefaultSteerStrength: _d, topkCosSimIndices: _a, topkCosSimValues: _b, ...shared } = neuronRow(feature);
    const activations = examplesOf(shape, feature).map(({ tokens, values, binMin, binMax, binContains, qualifyingTokenIndex }) => ({ bin_min: binMin, bin_max: binMax, bin_contains: binContains, tokens, values, qualifying_token_index: qualifyingTokenIndex }));
    const text = JSON.stringify({ feature_index: feature, ...shared, n_prompts_total: 24_576, n_tokens_in_prompt: 128, dataset: "synthetic", activations });
    if (!file.write(`${i === 0 ? "" : ", "}${text}`)) await once(file, "drain");
  }
  file.end("]}");
  await once(file, "close");
}
