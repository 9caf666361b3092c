import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { type CorpusSchema, CorpusState } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/corpus";
import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { openCorpus, type CorpusSource } from "@mistral-sae/corpus";
import { alreadyExists, failedPrecondition, type Handlers, invalidArgument, notFound, pageOf, parseName, requireId } from "@mistral-sae/rpc";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { CorpusRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { loadedModel } from "../peers/peers.ts";
import { announceCorpus } from "../store/names.ts";
import { dropCorpusRows } from "../store/table-facts.ts";
import { deleteIndex, requireIdle } from "./delete-index.ts";

/** Tokens of a window where nothing else is asked for. */
export const DEFAULT_CONTEXT = 128;

type Names = "createCorpus" | "getCorpus" | "listCorpora" | "deleteCorpus";

export function corpusHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, clickhouse, corpora, peers } = parts;
  const existing = (name: string): CorpusRecord => {
    const { corpus: id } = parseName("corpora/{corpus}", name, "name");
    const corpus = catalogue.corpus(id);
    if (corpus === undefined) throw notFound(name);
    return corpus;
  };
  return {
    createCorpus: async ({ corpusId, source: given, model, contextSize, requestId }, { signal }) => {
      const id = requireId("corpus_id", corpusId);
      if (given === undefined || given.uri === "") throw invalidArgument("source.uri", "got nothing, wanted a file, folder or glob");
      const source: CorpusSource = { uri: given.uri, textField: given.textField, sourceField: given.sourceField, maxDocuments: Number(given.maxDocuments), ...(given.metadataFields.length > 0 ? { metadataFields: given.metadataFields } : {}) };
      const request = JSON.stringify([source, model, contextSize]);
      const before = catalogue.corpus(id);
      if (before !== undefined) {
        if (requestId !== "" && before.requestId === requestId && before.request === request) return { corpus: corpusMessage(before) };
        throw alreadyExists(`corpora/${id}`);
      }
      // What could never be stored is refused here, while somebody is looking.
      const { contextSize: context } = new BlockLayout(contextSize === 0 ? DEFAULT_CONTEXT : contextSize, 0);
      await openCorpus(source);
      const { name } = await loadedModel(peers, model, signal);
      const corpus = catalogue.corpus(id) ?? catalogue.addCorpus({ id, requestId, request, source: JSON.stringify(source), model: name, contextSize: context });
      return { corpus: corpusMessage(corpus) };
    },
    getCorpus: async ({ name }) => ({ corpus: corpusMessage(existing(name)) }),
    listCorpora: async (request) => {
      const page = pageOf(catalogue.corpora(), request, ({ id }) => id);
      return { corpora: page.rows.map(corpusMessage), nextPageToken: page.nextPageToken };
    },
    deleteCorpus: async ({ name }) => {
      const corpus = existing(name);
      if (corpora.isBusy(corpus.id)) throw failedPrecondition("CORPUS_BUSY", `${name} is being stored by an operation; cancel that first`, { corpus: name });
      const indexes = catalogue.indexes().filter((index) => index.corpus.corpusId === corpus.corpusId);
      for (const index of indexes) requireIdle(parts, index);
      for (const index of indexes) await deleteIndex(parts, index);
      await announceCorpus(clickhouse, corpus, true);
      await dropCorpusRows(clickhouse, corpus.corpusId);
      catalogue.deleteCorpus(corpus.corpusId);
      return {};
    },
  };
}

function corpusMessage(corpus: CorpusRecord): MessageInitShape<typeof CorpusSchema> {
  const { uri, textField, sourceField, maxDocuments, metadataFields = [] } = JSON.parse(corpus.source) as CorpusSource;
  return {
    name: `corpora/${corpus.id}`,
    source: { uri, maxDocuments: BigInt(maxDocuments ?? 0), metadataFields: [...metadataFields], ...(textField === undefined ? {} : { textField }), ...(sourceField === undefined ? {} : { sourceField }) },
    model: corpus.model,
    contextSize: corpus.contextSize,
    state: corpus.ready ? CorpusState.READY : CorpusState.CREATED,
    nDocuments: BigInt(corpus.nDocuments),
    nSequences: BigInt(corpus.nSequences),
    nTokens: BigInt(corpus.nTokens),
    nSpecialTokens: BigInt(corpus.nSpecialTokens),
    digest: corpus.digest,
    createTime: timestampFromMs(corpus.createdMs),
  };
}
