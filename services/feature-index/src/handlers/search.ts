import { Aggregate, type FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { indexOfSae } from "../serving/resolve-index.ts";
import { featuresOfLogit, featuresOfToken, type Hit } from "../serving/search-tokens.ts";
import { queryWords } from "../words/words.ts";
import { type OffsetPage, offsetPage } from "./offset-page.ts";

const MOST_WORDS = 32;
const DEFAULT_MEANINGS = 20;

type Names = "searchByToken" | "searchByLogit" | "searchExplanations";

/** The searches that the tables answer alone. */
export function searchHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, clickhouse, meaning, pages } = parts;
  const withFeatures = async (index: IndexRecord, hits: readonly Hit[], signal: AbortSignal) => {
    const features = await pages.basic(index, hits.map(({ feature }) => feature), signal);
    return hits.map(({ value }, i) => ({ value, ...(features[i] === undefined ? {} : { feature: features[i] }) }));
  };
  /** One row more than the page tells whether there is another. */
  const pageOfHits = async (index: IndexRecord, page: OffsetPage, find: (limit: number) => Promise<readonly Hit[]>, signal: AbortSignal) => {
    const hits = await find(page.limit + 1);
    return { hits: await withFeatures(index, hits.slice(0, page.limit), signal), nextPageToken: hits.length > page.limit ? page.at(page.offset + page.limit) : "" };
  };
  return {
    searchByToken: async (request, { signal }) => {
      const { parent, tokenId, corpus } = request;
      const index = indexOfSae(catalogue, "parent", parent, corpus);
      await requireToken(parts, index, tokenId);
      const page = offsetPage(request, ["token", index.indexId, tokenId]);
      return await pageOfHits(index, page, (limit) => featuresOfToken(clickhouse, index, tokenId, limit, page.offset, signal), signal);
    },
    searchByLogit: async (request, { signal }) => {
      const { parent, tokenId, negative } = request;
      const index = indexOfSae(catalogue, "parent", parent, "");
      await requireToken(parts, index, tokenId);
      const page = offsetPage(request, ["logit", index.indexId, tokenId, negative]);
      return await pageOfHits(index, page, (limit) => featuresOfLogit(clickhouse, index, tokenId, negative, limit, page.offset, signal), signal);
    },
    searchExplanations: async (request, { signal }) => {
      const { parent, query, textWeight, corpus } = request;
      const index = indexOfSae(catalogue, "parent", parent, corpus);
      if (textWeight !== undefined && !(textWeight >= 0 && textWeight <= 1)) throw invalidArgument("text_weight", `got ${textWeight}, wanted 0 to 1`);
      const words = queryWords(query);
      if (words.length === 0) throw invalidArgument("query", `got ${JSON.stringify(query)}, wanted at least one word`);
      if (words.length > MOST_WORDS) throw invalidArgument("query", `got ${words.length} words, wanted at most ${MOST_WORDS}`);
      const page = offsetPage(request, ["words", index.indexId, query, textWeight ?? null], DEFAULT_MEANINGS);
      const found = await meaning.search(index, { query, words, textWeight, offset: page.offset, limit: page.limit }, signal);
      const { hits, total, source, nPending } = found;
      return { hits: await withFeatures(index, hits, signal), nextPageToken: page.next(total), vectorSource: source, nPending: BigInt(nPending) };
    },
  };
}

/** How values over tokens become one, by the contract's number. @throws INVALID_ARGUMENT. */
export function aggregateName(aggregate: Aggregate, fallback: "max" | "mean") {
  switch (aggregate) {
    case Aggregate.UNSPECIFIED:
      return fallback;
    case Aggregate.MAX:
      return "max";
    case Aggregate.MEAN:
      return "mean";
    case Aggregate.SUM:
      return "sum";
    case Aggregate.COUNT:
      return "count";
    case Aggregate.LAST:
      return "last";
    default:
      throw invalidArgument("aggregate", `got ${String(aggregate)}, wanted MAX, MEAN, SUM, COUNT or LAST`);
  }
}

async function requireToken({ vocabularies }: Parts, { corpus }: IndexRecord, tokenId: number): Promise<void> {
  const { length } = await vocabularies.texts(corpus.vocabularyId);
  if (tokenId >= length) throw invalidArgument("token_id", `got ${tokenId}, wanted less than ${length}`, "TOKEN_OUT_OF_VOCAB");
}
