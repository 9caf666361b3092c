import { create } from "@bufbuild/protobuf";
import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { FinishIndexRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import type { Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { alreadyExists, Code, failedPrecondition, type Handlers, notFound, parseName, requireId, RpcError } from "@mistral-sae/rpc";
import { BlockLayout } from "../blocks/block-layout.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { USUAL_L0 } from "../indexing/index-job.ts";
import type { Parts } from "../parts.ts";
import { loadedModel, readySae } from "../peers/peers.ts";
import { requireRoom } from "../storage/usage.ts";
import { indexMessage } from "../wire/index-message.ts";
import { DEFAULT_CONTEXT } from "./corpora.ts";
import { takesCodes } from "./delete-index.ts";

type Names = "createIndex" | "ingestActivations" | "finishIndex";

export function ingestHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, engine, ingest, peers, vocabularies } = parts;
  return {
    createIndex: async ({ indexId, sae: saeName, corpusId, contextSize, includeSpecialTokens, requestId }, { signal }) => {
      const id = requireId("index_id", indexId);
      const corpus = requireId("corpus_id", corpusId);
      const { model: modelId } = parseName("models/{model}/saes/{sae}", saeName, "sae");
      const { contextSize: context } = new BlockLayout(contextSize === 0 ? DEFAULT_CONTEXT : contextSize, 0);
      const request = JSON.stringify([id, saeName, corpus, context, includeSpecialTokens]);
      const before = () => {
        const existing = catalogue.index(id);
        if (requestId !== "" && existing?.corpus.requestId === requestId && existing.corpus.request === request) return existing;
        if (existing !== undefined) throw alreadyExists(`indexes/${id}`);
        if (catalogue.corpus(corpus) !== undefined) throw alreadyExists(`corpora/${corpus}`);
        return undefined;
      };
      const existing = before();
      if (existing !== undefined) return { index: indexMessage(existing, existing.state) };
      await requireRoom(parts.storage);
      const sae = await readySae(peers, saeName, signal);
      const model = await loadedModel(peers, `models/${modelId}`, signal);
      const vocabularyId = await vocabularies.store(model, signal);
      // Asked again: another call may have made it in the meantime.
      const index =
        before() ??
        catalogue.addIngestIndex(
          id,
          { sae: catalogue.sae({ name: sae.name, digest: sae.digest, dSae: sae.dSae, hookName: sae.hookName }), includeSpecialTokens, ingestL0: sae.k ?? USUAL_L0 },
          { id: corpus, requestId, request, source: JSON.stringify({ uri: "" }), model: model.name, contextSize: context },
        );
      catalogue.setCorpusOrigin(index.corpus.corpusId, `${model.digest} ingest`, vocabularyId);
      return { index: indexMessage(index, index.state) };
    },
    ingestActivations: async (requests, { signal }) => {
      const committed = await ingest.take(requests, signal);
      return { committedSeq: Object.fromEntries([...committed].map(([shard, seq]) => [shard, BigInt(seq)])) };
    },
    finishIndex: async ({ name, requestId }) => {
      const { index: id } = parseName("indexes/{index}", name, "name");
      const index = catalogue.index(id);
      if (index === undefined) throw notFound(name);
      if (index.ingestL0 === 0) throw failedPrecondition("INDEX_TAKES_NO_CODES", `${name} was made by another call than CreateIndex: there is nothing to finish`, { index: name });
      const begun = operationOf(index);
      if (begun !== undefined) return { operation: begun };
      if (takesCodes(index)) requireComplete(index);
      await requireRoom(parts.storage);
      const operation = engine.start("finish-index", create(FinishIndexRequestSchema, { name }), requestId === "" ? {} : { requestId });
      catalogue.setIndexOperation(index.indexId, operation.name);
      return { operation };
    },
  };

  /** The operation that finishes an index, if it has been begun and is not forgotten. */
  function operationOf({ operation }: IndexRecord): Operation | undefined {
    if (!operation.startsWith("operations/")) return undefined;
    try {
      return engine.get(operation);
    } catch (error) {
      if (error instanceof RpcError && error.code === Code.NotFound) return undefined;
      throw error;
    }
  }

  function requireComplete({ indexId, id }: IndexRecord): void {
    const name = `indexes/${id}`;
    if (ingest.isOpen(indexId)) throw failedPrecondition("INGEST_OPEN", `${name} takes codes from a stream; end that first`, { index: name });
    const shards = catalogue.ingest.shards(indexId);
    if (!shards.some(({ nextSeq }) => nextSeq > 0)) throw failedPrecondition("INDEX_EMPTY", `${name} holds no codes; send some first`, { index: name });
    const cut = catalogue.ingest.blocks(indexId).find(({ stored }) => !stored);
    if (cut === undefined) return;
    const seq = catalogue.ingest.shard(indexId, cut.shard).nextSeq;
    throw failedPrecondition("INGEST_CUT", `shard ${cut.shard} of ${name} was cut off while a block of it was being stored; send it again from seq ${seq}`, { index: name, shard: String(cut.shard), wanted_seq: String(seq) });
  }
}
