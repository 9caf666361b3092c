import type { PromptInput } from "@mistral-sae/contracts/mistral_sae/common/v1/tokens";
import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { Code, type Handlers, invalidArgument, RpcError } from "@mistral-sae/rpc";
import { unpackSparse } from "@mistral-sae/tensor";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { readExplanations } from "../serving/explanations.ts";
import { countedPositions, encodeTokens, readText, tokenizePrompt } from "../serving/read-text.ts";
import { resolveIndex } from "../serving/resolve-index.ts";
import { aggregate, type AggregateName, firingsOf, strongest, subtract } from "../serving/text-values.ts";
import { aggregateName } from "./search.ts";

const DEFAULT_RESULTS = 20;
const MOST_RESULTS = 1_000;
const MOST_SAES = 16;
const MOST_PROMPTS = 256;

type Names = "searchByText" | "topFeaturesByToken" | "contrastFeatures";

/** The searches that run a text through the model. */
export function textHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, clickhouse, densities, peers } = parts;
  /** Its newest index, where it has one: densities and explanations come from there. */
  const indexOf = (sae: string): IndexRecord | undefined => {
    try {
      return resolveIndex(catalogue, sae, "");
    } catch (error) {
      if (error instanceof RpcError && error.code === Code.NotFound) return undefined;
      throw error;
    }
  };
  const descriptions = async (sae: string, features: readonly number[]): Promise<(feature: number) => string> => {
    const saeId = catalogue.newestSae(sae)?.saeId;
    const found = saeId === undefined ? new Map() : await readExplanations(clickhouse, saeId, features);
    return (feature) => found.get(feature)?.[0]?.description ?? "";
  };
  /** Mean over the prompts of what each feature comes to in a prompt. */
  const overPrompts = async (field: string, prompts: readonly PromptInput[], sae: string, how: AggregateName, signal: AbortSignal): Promise<Map<number, number>> => {
    if (prompts.length === 0 || prompts.length > MOST_PROMPTS) throw invalidArgument(field, `got ${prompts.length} prompts, wanted 1 to ${MOST_PROMPTS}`);
    const sums = new Map<number, number>();
    for (const [i, prompt] of prompts.entries()) {
      const { tokens, code } = await readText(peers, `${field}[${i}]`, prompt, sae, 0, signal);
      const { features, values } = aggregate(unpackSparse(code), countedPositions(tokens, true, []), how);
      for (const [at, feature] of features.entries()) sums.set(feature, (sums.get(feature) ?? 0) + (values[at] as number) / prompts.length);
    }
    return sums;
  };
  return {
    searchByText: async (request, { signal }) => {
      const { saes, prompt, contrast, tokenIndexes, densityThreshold } = request;
      if (saes.length === 0 || saes.length > MOST_SAES) throw invalidArgument("saes", `got ${saes.length}, wanted 1 to ${MOST_SAES}`);
      if (new Set(saes.map(modelOf)).size > 1) throw invalidArgument("saes", `got SAEs of several models (${saes.join(", ")}), wanted those of one`);
      if (densityThreshold !== undefined && !(densityThreshold > 0 && densityThreshold <= 1)) throw invalidArgument("density_threshold", `got ${densityThreshold}, wanted above 0 and at most 1`);
      const numResults = limitOf(request.numResults);
      const how = aggregateName(request.aggregate, "max");
      const ignoreSpecial = request.ignoreSpecialTokens ?? true;
      if (prompt === undefined) throw invalidArgument("prompt", "is not set, wanted text, tokens or chat");
      const first = saes[0] as string;
      const tokens = await tokenizePrompt(peers, "prompt", prompt, first, signal);
      const positions = countedPositions(tokens, ignoreSpecial, tokenIndexes);
      const other = contrast === undefined ? undefined : await tokenizePrompt(peers, "contrast", contrast, first, signal);
      const matches = await Promise.all(
        saes.map(async (sae) => {
          const rows = unpackSparse(await encodeTokens(peers, tokens, sae, 0, signal));
          const found = aggregate(rows, positions, how);
          if (other !== undefined) subtract(found, aggregate(unpackSparse(await encodeTokens(peers, other, sae, 0, signal)), countedPositions(other, ignoreSpecial, []), how), rows.dSae);
          const index = indexOf(sae);
          const density = index === undefined ? undefined : await densities.of(index);
          // Before the best are taken, so that there are as many as were asked for.
          const places = strongest(found, numResults, (feature) => densityThreshold === undefined || (density?.[feature] ?? 0) <= densityThreshold);
          const best = places.map((place) => ({ feature: found.features[place] as number, value: found.values[place] as number }));
          const firings = firingsOf(rows, positions, best.map(({ feature }) => feature));
          const described = await descriptions(sae, best.map(({ feature }) => feature));
          return best.map((match, i) => ({
            name: `${sae}/features/${match.feature}`,
            featureIndex: match.feature,
            value: match.value,
            ...firings[i],
            description: described(match.feature),
            ...(density === undefined ? {} : { fracNonzero: density[match.feature] as number }),
          }));
        }),
      );
      return { tokens, matches: matches.flat().sort((a, b) => b.value - a.value || a.featureIndex - b.featureIndex).slice(0, numResults) };
    },
    topFeaturesByToken: async ({ prompt, sae, topK }, { signal }) => await readText(peers, "prompt", prompt, sae, topK, signal),
    contrastFeatures: async ({ sae, promptsA, promptsB, aggregate: how, numResults }, { signal }) => {
      const name = aggregateName(how, "mean");
      const a = await overPrompts("prompts_a", promptsA, sae, name, signal);
      const b = await overPrompts("prompts_b", promptsB, sae, name, signal);
      const both = [...new Set([...a.keys(), ...b.keys()])].map((feature) => ({ featureIndex: feature, valueA: a.get(feature) ?? 0, valueB: b.get(feature) ?? 0 }));
      const difference = ({ valueA, valueB }: (typeof both)[number]) => Math.abs(valueA - valueB);
      const contrasts = both.sort((x, y) => difference(y) - difference(x) || x.featureIndex - y.featureIndex).slice(0, limitOf(numResults));
      const described = await descriptions(sae, contrasts.map(({ featureIndex }) => featureIndex));
      return { contrasts: contrasts.map((contrast) => ({ ...contrast, description: described(contrast.featureIndex) })) };
    },
  };
}

function limitOf(numResults: number): number {
  if (numResults > MOST_RESULTS) throw invalidArgument("num_results", `got ${numResults}, wanted at most ${MOST_RESULTS}`);
  return numResults === 0 ? DEFAULT_RESULTS : numResults;
}

function modelOf(sae: string): string {
  return sae.split("/saes/")[0] ?? "";
}
