import type { MessageInitShape } from "@bufbuild/protobuf";
import type { FeatureIndexSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { JobContext } from "@mistral-sae/jobs";
import { notFound } from "@mistral-sae/rpc";
import { buildIndex, type BuildParts } from "../building/build-index.ts";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import { announceIndex } from "../store/names.ts";
import { indexMessage } from "../wire/index-message.ts";
import type { BlockSummary } from "./store-block.ts";
import type { StoredBlocks } from "./stored-blocks.ts";

/** What completing an index works with. */
export interface CompleteParts extends BuildParts {
  readonly catalogue: Catalogue;
  readonly vocabularies: Vocabularies;
  readonly stored: StoredBlocks;
}

/** Builds what pages are made of over blocks that are all stored, and makes the index READY. */
export async function completeIndex(parts: CompleteParts, index: IndexRecord, blocks: readonly BlockSummary[], ctx: Pick<JobContext, "state" | "signal" | "progress">): Promise<MessageInitShape<typeof FeatureIndexSchema>> {
  const sum = (pick: (block: BlockSummary) => number) => blocks.reduce((total, block) => total + pick(block), 0);
  const nActivations = sum((block) => block.nActivations);
  const texts = await parts.vocabularies.texts(index.corpus.vocabularyId);
  const nFeaturesAlive = await buildIndex(parts, index, { nBlocks: blocks.filter((block) => block.nActivations > 0).length, nActivations }, texts, ctx);
  const counts = { nSequences: index.nSequences, nTokens: sum((block) => block.nTokens), nSpecialTokens: sum((block) => block.nSpecialTokens), nActivations, nFeaturesAlive };
  parts.catalogue.setIndexCounts(index.indexId, counts);
  await announceIndex(parts.clickhouse, { ...index, ...counts });
  parts.catalogue.setIndexState(index.indexId, "ready");
  parts.stored.forget(index.indexId);
  const built = parts.catalogue.index(index.id);
  if (built === undefined) throw notFound(`indexes/${index.id}`, "was deleted while it was being built");
  return indexMessage(built, "ready");
}
