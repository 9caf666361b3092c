import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { CoActivationMeasure } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { ActivationGroup, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import type { Measure } from "../building/coactivation.ts";
import { isDashboard, requireActivations } from "../exchange/dashboards.ts";
import { givenHistogram } from "../exchange/given-histogram.ts";
import type { Parts } from "../parts.ts";
import { ranked, readCoactivations } from "../serving/coactivations.ts";
import { histogramOf, storedHistogram } from "../serving/histogram.ts";
import { readExplanations } from "../serving/explanations.ts";
import { FiringSource } from "../serving/firing-source.ts";
import { chooseExamples } from "../serving/list-activations.ts";
import { queryFeatures } from "../serving/list-features.ts";
import { indexOfFeature, indexOfSae, requireFeature } from "../serving/resolve-index.ts";
import { readWindows } from "../serving/windows.ts";
import { defaultContext, exampleMessage } from "../wire/example-message.ts";
import { offsetPage } from "./offset-page.ts";

const MOST_IN_A_BATCH = 128;
const DEFAULT_EXAMPLES = 20;
const DEFAULT_STRATA = 5;
const DEFAULT_BINS = 40;
const MOST_BINS = 1_000;
const DEFAULT_COACTIVATIONS = 10;

const MEASURES: Readonly<Record<CoActivationMeasure, Measure>> = {
  [CoActivationMeasure.UNSPECIFIED]: "jaccard",
  [CoActivationMeasure.JACCARD]: "jaccard",
  [CoActivationMeasure.PHI]: "phi",
  [CoActivationMeasure.PMI]: "pmi",
};

type Names = "getFeature" | "batchGetFeatures" | "listFeatures" | "listActivations" | "getHistogram" | "listCoActivations";

export function featureHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, clickhouse, pages, vocabularies } = parts;
  return {
    getFeature: async ({ name, view, corpus, contextTokens }, { signal }) => {
      const { index, feature } = indexOfFeature(catalogue, "name", name, corpus);
      const [found] = view === FeatureView.FULL ? await pages.full(index, [feature], contextOf(contextTokens), signal) : await pages.basic(index, [feature], signal);
      return found === undefined ? {} : { feature: found };
    },
    batchGetFeatures: async ({ parent, featureIndices, view, corpus, contextTokens }, { signal }) => {
      const index = indexOfSae(catalogue, "parent", parent, corpus);
      if (featureIndices.length > MOST_IN_A_BATCH) throw invalidArgument("feature_indices", `got ${featureIndices.length}, wanted at most ${MOST_IN_A_BATCH}`);
      for (const [i, feature] of featureIndices.entries()) requireFeature(`feature_indices[${i}]`, feature, index);
      const features = view === FeatureView.FULL ? await pages.full(index, featureIndices, contextOf(contextTokens), signal) : await pages.basic(index, featureIndices, signal);
      return { features };
    },
    listFeatures: async (request, { signal }) => {
      const { parent, filter, orderBy, corpus } = request;
      const index = indexOfSae(catalogue, "parent", parent, corpus);
      const page = offsetPage(request, ["features", index.indexId, filter, orderBy]);
      const { features, total } = await queryFeatures(clickhouse, index, { filter, orderBy, ...page }, signal);
      return { features: await pages.basic(index, features, signal), totalSize: BigInt(total), nextPageToken: page.next(total) };
    },
    listActivations: async (request, { signal }) => {
      const { parent, nBins, seed, corpus, dataSource } = request;
      const { index, feature } = indexOfFeature(catalogue, "parent", parent, corpus);
      const group = request.group === ActivationGroup.UNSPECIFIED ? ActivationGroup.TOP : request.group;
      if (group === ActivationGroup.NON_ACTIVATING) requireActivations(index, "where a feature does not fire");
      const page = offsetPage(request, ["activations", index.indexId, feature, group, nBins, String(seed), dataSource], DEFAULT_EXAMPLES);
      const read = (sequences: readonly number[]) => readWindows(clickhouse, index.corpus, sequences);
      const source = new FiringSource({ clickhouse, index, feature, source: dataSource, signal });
      const chosen = await chooseExamples(source, { group, nBins: nBins === 0 ? DEFAULT_STRATA : nBins, seed, ...page }, read);
      const windows = await read(chosen.examples.map(({ firing }) => firing.sequence));
      const texts = await vocabularies.texts(index.corpus.vocabularyId);
      const context = { before: request.contextBefore ?? defaultContext.before, after: request.contextAfter ?? defaultContext.after };
      return {
        activations: chosen.examples.map(({ firing, bin }) => exampleMessage(firing, windows.get(firing.sequence), texts, context, bin)),
        nextPageToken: chosen.next === undefined ? "" : page.at(chosen.next),
      };
    },
    getHistogram: async ({ name, nBins, log, corpus }, { signal }) => {
      const { index, feature } = indexOfFeature(catalogue, "name", name, corpus);
      if (nBins > MOST_BINS) throw invalidArgument("n_bins", `got ${nBins}, wanted at most ${MOST_BINS}`);
      if (isDashboard(index)) return { histogram: await givenHistogram(clickhouse, index, feature, nBins, log) };
      const bins = nBins === 0 ? DEFAULT_BINS : nBins;
      const stored = await storedHistogram(clickhouse, index.indexId, feature, bins, log);
      return { histogram: stored ?? (await histogramOf(await new FiringSource({ clickhouse, index, feature, source: "", signal }).loaded(), bins, log)) };
    },
    listCoActivations: async (request) => {
      const { index, feature } = indexOfFeature(catalogue, "parent", request.parent, request.corpus);
      const measure = MEASURES[request.measure];
      if (measure === undefined) throw invalidArgument("measure", `got ${request.measure}, wanted JACCARD, PHI or PMI`);
      requireActivations(index, "what fires together");
      const page = offsetPage(request, ["coactivations", index.indexId, feature, measure], DEFAULT_COACTIVATIONS);
      const row = await readCoactivations(clickhouse, index.indexId, feature);
      const all = row === undefined ? [] : ranked(row, measure);
      const shown = all.slice(page.offset, page.offset + page.limit);
      const explanations = await readExplanations(clickhouse, index.sae.saeId, shown.map((other) => other.feature));
      return {
        features: shown.map((other) => ({ featureIndex: other.feature, value: other.value, description: explanations.get(other.feature)?.[0]?.description ?? "" })),
        nextPageToken: page.next(all.length),
      };
    },
  };
}

function contextOf(tokens: number | undefined) {
  return tokens === undefined ? defaultContext : { before: tokens, after: tokens };
}

