import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { CorpusRecord, IndexRecord } from "../catalogue/records.ts";
import { T } from "./tables.ts";

/** Makes an index appear in the views, or disappear from them. */
export async function announceIndex(clickhouse: ClickHouse, index: IndexRecord, deleted = false): Promise<void> {
  const { corpus, sae } = index;
  await clickhouse.command(
    `INSERT INTO ${T.indexNames} (index_id, index_name, sae, corpus, model, sae_id, corpus_id, vocabulary_id, d_sae, context_size, n_tokens, n_special_tokens, include_special_tokens, deleted, version)
     SELECT {indexId:UInt32}, {name:String}, {sae:String}, {corpus:String}, {model:String}, {saeId:UInt32}, {corpusId:UInt32}, {vocabularyId:UInt32}, {dSae:UInt32}, {contextSize:UInt32},
       {nTokens:UInt64}, {nSpecialTokens:UInt64}, {includeSpecial:UInt8}, {deleted:UInt8}, {deleted:UInt8}`,
    {
      indexId: index.indexId,
      name: `indexes/${index.id}`,
      sae: sae.name,
      corpus: `corpora/${corpus.id}`,
      model: corpus.model,
      saeId: sae.saeId,
      corpusId: corpus.corpusId,
      vocabularyId: corpus.vocabularyId,
      dSae: sae.dSae,
      contextSize: corpus.contextSize,
      nTokens: index.nTokens,
      nSpecialTokens: index.nSpecialTokens,
      includeSpecial: Number(index.includeSpecialTokens),
      deleted: Number(deleted),
    },
  );
  await announceCorpus(clickhouse, corpus);
}

/** Makes a corpus appear in the views, or disappear from them. */
export async function announceCorpus(clickhouse: ClickHouse, { corpusId, id }: CorpusRecord, deleted = false): Promise<void> {
  await clickhouse.command(`INSERT INTO ${T.corpusNames} (corpus_id, corpus, deleted, version) SELECT {corpusId:UInt32}, {name:String}, {deleted:UInt8}, {deleted:UInt8}`, {
    corpusId,
    name: `corpora/${id}`,
    deleted: Number(deleted),
  });
}
