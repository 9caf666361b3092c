import { createHash } from "node:crypto";
import { type ActivationExample, ActivationGroup, type Feature, FeatureView } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import { FeatureIndexService, IndexState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { SamplerType, type ExplainConfig, type Explanation } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";
import { type Client, createClient, failedPrecondition } from "@mistral-sae/rpc";
import { featureName } from "./names.ts";

/** Features that one BatchGetFeatures may name. */
export const featuresPerCall = 128;
const pageSize = 1000;
const live = "n_firings > 0";

/** What this service reads from the feature index and writes into it. */
export class FeatureSource {
  readonly #index: Client<typeof FeatureIndexService>;

  constructor(address: string) {
    this.#index = createClient(FeatureIndexService, address);
  }

  /**
   * What the explanations of an SAE depend on: its newest index, as a hash. Another index or other weights under the
   * same names give another one. Throws FAILED_PRECONDITION NOT_INDEXED.
   */
  async version(sae: string, signal: AbortSignal): Promise<string> {
    for (let pageToken = ""; ; ) {
      const page = await this.#index.listIndexes({ pageSize, pageToken }, { signal });
      const found = page.indexes.find((index) => index.sae === sae && index.state === IndexState.READY);
      if (found !== undefined) {
        const parts = [found.name, found.corpus, found.saeDigest, found.nTokens, found.nActivations].map(String);
        return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
      }
      if (page.nextPageToken === "") break;
      pageToken = page.nextPageToken;
    }
    throw failedPrecondition("NOT_INDEXED", `${sae} has no index that is READY: index a corpus first`, { sae });
  }

  /** Rows of all features that fire, ascending. */
  async liveFeatures(sae: string, signal: AbortSignal): Promise<number[]> {
    const rows: number[] = [];
    for (let pageToken = ""; ; ) {
      const page = await this.#index.listFeatures({ parent: sae, pageSize, pageToken, filter: live, orderBy: "feature_index" }, { signal });
      for (const feature of page.features) rows.push(feature.featureIndex);
      if (page.nextPageToken === "") return rows;
      pageToken = page.nextPageToken;
    }
  }

  /** How many features fire. */
  async countLive(sae: string, signal: AbortSignal): Promise<bigint> {
    const page = await this.#index.listFeatures({ parent: sae, pageSize: 1, filter: live }, { signal });
    return page.totalSize;
  }

  /** At most 128 features; with examples and neighbours when `full`. In the order asked for. */
  async features(sae: string, featureIndices: readonly number[], full: boolean, contextTokens: number, signal: AbortSignal): Promise<Feature[]> {
    const view = full ? FeatureView.FULL : FeatureView.BASIC;
    const request = { parent: sae, featureIndices: [...featureIndices], view, contextTokens };
    const { features } = await this.#index.batchGetFeatures(request, { signal });
    return features;
  }

  /** Examples as the settings' sampler chooses them, each with about example_ctx_len tokens. */
  async examples(sae: string, feature: number, config: ExplainConfig, signal: AbortSignal): Promise<ActivationExample[]> {
    const { nTrain, nQuantiles, sampler, seed } = config;
    const list = async (group: ActivationGroup, size: number): Promise<ActivationExample[]> =>
      await this.activations(sae, feature, { group, size, nBins: nQuantiles, seed, contextLength: config.exampleCtxLen }, signal);
    if (sampler === SamplerType.TOP) return await list(ActivationGroup.TOP, nTrain);
    if (sampler === SamplerType.RANDOM) return await list(ActivationGroup.RANDOM, nTrain);
    if (sampler === SamplerType.QUANTILES) return await list(ActivationGroup.QUANTILE_COUNT, nTrain);
    const nTop = Math.round(nTrain * (config.ratioTop ?? 0));
    const top = nTop === 0 ? [] : await list(ActivationGroup.TOP, nTop);
    const seen = new Set(top.map(({ sequenceId }) => sequenceId));
    const rest = nTrain - nTop === 0 ? [] : await list(ActivationGroup.QUANTILE_COUNT, nTrain);
    return [...top, ...rest.filter(({ sequenceId }) => !seen.has(sequenceId))].slice(0, nTrain);
  }

  /** A group of examples. */
  async activations(
    sae: string,
    feature: number,
    wanted: { readonly group: ActivationGroup; readonly size: number; readonly nBins: number; readonly seed: bigint; readonly contextLength: number },
    signal: AbortSignal,
  ): Promise<ActivationExample[]> {
    const contextBefore = Math.floor(wanted.contextLength / 2);
    const { activations } = await this.#index.listActivations(
      {
        parent: featureName({ sae, feature }),
        group: wanted.group,
        nBins: wanted.nBins,
        seed: wanted.seed,
        contextBefore,
        contextAfter: Math.max(0, wanted.contextLength - contextBefore - 1),
        pageSize: wanted.size,
      },
      { signal },
    );
    return activations;
  }

  /** Gives explanations in words to the index, for pages and search; idempotent by name. */
  async publish(explanations: readonly { readonly feature: string; readonly explanation: Explanation }[], signal: AbortSignal): Promise<void> {
    const entries = explanations.map(({ feature, explanation }) => {
      const score = bestScore(explanation);
      const { name, description, explanationType, explanationModel } = explanation;
      const summary = { name, description, explanationType, explanationModel, ...(score === undefined ? {} : { score }) };
      return { feature, summary };
    });
    for (let start = 0; start < entries.length; start += pageSize) {
      await this.#index.putExplanations({ entries: entries.slice(start, start + pageSize) }, { signal });
    }
  }

  /** Takes explanations out of the index; those that are not there are passed over. At most 1000. */
  async withdraw(entries: readonly { readonly feature: string; readonly name: string }[], signal: AbortSignal): Promise<void> {
    await this.#index.deleteExplanations({ entries: [...entries] }, { signal });
  }
}

/** Highest balanced accuracy among the scores. */
function bestScore({ scores }: Explanation): number | undefined {
  const values = scores.map(({ metrics }) => metrics?.balancedAccuracy).filter((value) => value !== undefined);
  return values.length === 0 ? undefined : Math.max(...values);
}
