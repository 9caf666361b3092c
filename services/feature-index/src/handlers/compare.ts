import type { MessageInitShape } from "@bufbuild/protobuf";
import type { FeatureSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";
import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { failedPrecondition, type Handlers, invalidArgument, parseName } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { compareCorpora, type CorpusDifference } from "../serving/compare-corpora.ts";
import { indexOfSae } from "../serving/resolve-index.ts";
import { offsetPage } from "./offset-page.ts";

const DEFAULT_MIN_FIRINGS = 10n;

export function compareHandlers({ catalogue, clickhouse, pages }: Parts): Pick<Handlers<typeof FeatureIndexService>, "compareCorpora"> {
  return {
    compareCorpora: async (request, { signal }) => {
      const { sae, corpusA, corpusB } = request;
      parseName("corpora/{corpus}", corpusA, "corpus_a");
      parseName("corpora/{corpus}", corpusB, "corpus_b");
      if (corpusA === corpusB) throw invalidArgument("corpus_b", `got ${corpusB} twice, wanted two corpora`);
      const a = indexOfSae(catalogue, "sae", sae, corpusA);
      const b = indexOfSae(catalogue, "sae", sae, corpusB);
      requireComparable(a, b);
      const minFirings = request.minFirings ?? DEFAULT_MIN_FIRINGS;
      const page = offsetPage(request, ["compare", a.indexId, b.indexId, String(minFirings)]);
      // One more than the page tells whether there is another.
      const found = await compareCorpora(clickhouse, a, b, { minFirings, offset: page.offset, limit: page.limit + 1 }, signal);
      const shown = found.slice(0, page.limit);
      const features = await pages.basic(a, shown.map(({ feature }) => feature), signal);
      const differences = shown.map((difference, i) => message(difference, features[i]));
      return { differences, nextPageToken: found.length > page.limit ? page.at(page.offset + page.limit) : "" };
    },
  };
}

function message({ fracNonzeroA, fracNonzeroB, meanActivationA, meanActivationB, logRatio, zScore }: CorpusDifference, feature: MessageInitShape<typeof FeatureSchema> | undefined) {
  return { fracNonzeroA, fracNonzeroB, meanActivationA, meanActivationB, logRatio, zScore, ...(feature === undefined ? {} : { feature }) };
}

/** @throws FAILED_PRECONDITION SAE_CHANGED, SPECIAL_TOKENS_DIFFER. */
function requireComparable(a: IndexRecord, b: IndexRecord): void {
  if (a.sae.saeId !== b.sae.saeId) throw failedPrecondition("SAE_CHANGED", `${a.sae.name} has other weights in indexes/${a.id} (${a.sae.digest}) than in indexes/${b.id} (${b.sae.digest}); index one of the corpora again`);
  if (a.includeSpecialTokens !== b.includeSpecialTokens) {
    throw failedPrecondition("SPECIAL_TOKENS_DIFFER", `one of indexes/${a.id} and indexes/${b.id} counts special tokens and the other does not; index one of the corpora again`);
  }
}
