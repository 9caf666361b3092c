import type { MessageInitShape } from "@bufbuild/protobuf";
import type { FeatureSchema, HistogramSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { logBinEdge } from "../building/value-counts.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { type Explanation, explanationMessage } from "../serving/explanations.ts";
import type { BasicRow, FullRow } from "../serving/feature-rows.ts";
import { countedTokens, featureName } from "../serving/resolve-index.ts";

type FeatureInit = MessageInitShape<typeof FeatureSchema>;

/** A feature as lists show it: its best explanation alone. */
export function basicFeature(index: IndexRecord, row: BasicRow, texts: readonly string[], explanations: readonly Explanation[]) {
  const logits = (ids: readonly number[], values: readonly number[]) => ids.map((tokenId, i) => ({ tokenId, strToken: texts[tokenId] ?? "", logit: values[i] as number }));
  return {
    name: featureName(index, row.feature),
    featureIndex: row.feature,
    hookName: index.sae.hookName,
    fracNonzero: row.imported === 1 ? (row.givenFracNonzero ?? 0) : row.nFirings / Math.max(1, countedTokens(index)),
    nFirings: BigInt(row.nFirings),
    maxActivation: row.maxActivation,
    meanActivation: row.nFirings === 0 ? 0 : row.sumActivation / row.nFirings,
    wDecNorm: row.wDecNorm,
    dead: row.nFirings === 0 && row.imported === 0,
    unknownFields: unknownFields(row),
    posLogits: logits(row.posTokenIds, row.posLogits),
    negLogits: logits(row.negTokenIds, row.negLogits),
    topTokens: row.topTokenIds.map((tokenId, i) => ({
      tokenId,
      strToken: texts[tokenId] ?? "",
      n: BigInt(row.topTokenN[i] as number),
      sumActivation: row.topTokenSum[i] as number,
    })),
    explanations: explanations.slice(0, 1).map(explanationMessage),
  } satisfies FeatureInit;
}

/** A feature as its page shows it, examples and co-activations still to be added. */
export function fullFeature(index: IndexRecord, row: FullRow, texts: readonly string[], explanations: ReadonlyMap<number, readonly Explanation[]>) {
  const own = explanations.get(row.feature) ?? [];
  const similar = (features: readonly number[], values: readonly number[]) =>
    features.map((featureIndex, i) => ({ featureIndex, value: values[i] as number, description: explanations.get(featureIndex)?.[0]?.description ?? "" }));
  return {
    ...basicFeature(index, row, texts, own),
    explanations: own.map(explanationMessage),
    ...(row.nFirings === 0 ? givenHistogram(row) : { freqHist: logHistogramMessage(row.logBins, row.logCounts), linearHist: linearHistogramMessage(row.maxActivation, row.linearCounts) }),
    ...(row.positionCounts.length === 0 ? {} : { positionHist: linearHistogramMessage(index.corpus.contextSize, row.positionCounts) }),
    nearest: similar(row.nearest, row.nearestCosine),
    encoderNearest: similar(row.encoderNearest, row.encoderNearestCosine),
    nFiringsBySource: Object.fromEntries(row.sources.map((source, i) => [source, BigInt(row.sourceN[i] as number)])),
  } satisfies FeatureInit;
}

/** What a dashboard does not tell. */
function unknownFields({ imported, givenFracNonzero }: BasicRow): string[] {
  if (imported === 0) return [];
  return ["n_firings", "mean_activation", "w_dec_norm", "freq_hist", "position_hist", "encoder_nearest", "n_firings_by_source", "correlated", ...(givenFracNonzero === null ? ["frac_nonzero"] : [])];
}

/** The histogram that a dashboard gives, where its heights are counts. */
function givenHistogram({ givenHistEdges, givenHistCounts }: FullRow): { readonly linearHist?: MessageInitShape<typeof HistogramSchema> } {
  if (givenHistCounts.length === 0 || !givenHistCounts.every((count) => Number.isSafeInteger(count) && count >= 0)) return {};
  return { linearHist: { binEdges: [...givenHistEdges], counts: givenHistCounts.map(BigInt) } };
}

/** From the first bin that holds something to the last, empty ones between included. */
export function logHistogramMessage(bins: readonly number[], counts: readonly number[]): MessageInitShape<typeof HistogramSchema> {
  const low = bins[0] as number;
  const high = bins.at(-1) as number;
  const all = Array.from({ length: high - low + 1 }, () => 0n);
  for (const [i, bin] of bins.entries()) all[bin - low] = BigInt(counts[i] as number);
  return { binEdges: Array.from({ length: high - low + 2 }, (_, i) => logBinEdge(low + i)), counts: all };
}

/** Even bins over [0, max]. */
export function linearHistogramMessage(max: number, counts: readonly number[]): MessageInitShape<typeof HistogramSchema> {
  return { binEdges: Array.from({ length: counts.length + 1 }, (_, i) => (max * i) / counts.length), counts: counts.map(BigInt) };
}
