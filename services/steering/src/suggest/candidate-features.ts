import { type Feature, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { Peers } from "../peers.ts";
import type { SuggestSettings } from "./suggest-settings.ts";

/** Features that one BatchGetFeatures may name. */
const featuresPerCall = 128;
const pageSize = 1000;

/**
 * The features to rank: those asked for, or the live, not dense ones of the SAE, strongest first, at most
 * `maxScanned` of them.
 */
export async function readCandidateFeatures(
  peers: Peers,
  sae: string,
  featureIndices: readonly number[],
  settings: SuggestSettings,
  signal: AbortSignal,
): Promise<Feature[]> {
  const features: Feature[] = [];
  if (featureIndices.length > 0) {
    for (let start = 0; start < featureIndices.length; start += featuresPerCall) {
      const part = featureIndices.slice(start, start + featuresPerCall);
      const page = await peers.index.batchGetFeatures({ parent: sae, featureIndices: part, view: FeatureView.BASIC }, { signal });
      features.push(...page.features);
    }
    return features;
  }
  const filter = `n_firings >= ${settings.leastFirings} AND frac_nonzero <= ${settings.mostDense}`;
  for (let pageToken = ""; ; ) {
    const page = await peers.index.listFeatures({ parent: sae, filter, orderBy: "max_activation desc", pageSize, pageToken }, { signal });
    features.push(...page.features);
    if (page.nextPageToken === "" || features.length >= settings.maxScanned) return features.slice(0, settings.maxScanned);
    pageToken = page.nextPageToken;
  }
}
