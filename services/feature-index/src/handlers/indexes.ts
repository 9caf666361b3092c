import type { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { IndexCorpusRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { create } from "@bufbuild/protobuf";
import { failedPrecondition, type Handlers, notFound, pageOf, parseName } from "@mistral-sae/rpc";
import type { IndexRecord, IndexStateName } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { readySae } from "../peers/peers.ts";
import { requireRoom } from "../storage/usage.ts";
import { tableBytes, tableChecksums } from "../store/table-facts.ts";
import { indexMessage } from "../wire/index-message.ts";
import { deleteIndex, isBuilding, requireIdle, takesCodes } from "./delete-index.ts";

type Names = "indexCorpus" | "listIndexes" | "deleteIndex";

export function indexHandlers(parts: Parts): Pick<Handlers<typeof FeatureIndexService>, Names> {
  const { catalogue, clickhouse, engine, peers } = parts;
  const stateOf = (index: IndexRecord): IndexStateName => (index.state === "ready" ? "ready" : takesCodes(index) || isBuilding(parts, index) ? "building" : "failed");
  return {
    indexCorpus: async (request, { signal }) => {
      parseName("models/{model}/saes/{sae}", request.sae, "sae");
      const { corpus: id } = parseName("corpora/{corpus}", request.corpus, "corpus");
      const corpus = catalogue.corpus(id);
      if (corpus === undefined) throw notFound(request.corpus, "does not exist; create it first");
      await requireRoom(parts.storage);
      await readySae(peers, request.sae, signal);
      if (!request.sae.startsWith(`${corpus.model}/`)) {
        throw failedPrecondition("MODEL_MISMATCH", `${request.corpus} was cut by the tokenizer of ${corpus.model}, which ${request.sae} does not belong to`, { corpus: request.corpus, sae: request.sae });
      }
      const { requestId } = request;
      const input = create(IndexCorpusRequestSchema, { ...request, requestId: "" });
      return { operation: engine.start("index-corpus", input, requestId === "" ? {} : { requestId }) };
    },
    listIndexes: async (request) => {
      const page = pageOf(catalogue.indexes(), request, ({ id }) => id);
      const indexes = await Promise.all(
        page.rows.map(async (index) => {
          const message = indexMessage(index, stateOf(index));
          if (!request.withTableChecksums || index.state !== "ready") return message;
          const [bytes, checksums] = await Promise.all([tableBytes(clickhouse, index), tableChecksums(clickhouse, index)]);
          return { ...message, tableBytes: Object.fromEntries(Object.entries(bytes).map(([table, n]) => [table, BigInt(n)])), tableChecksums: checksums };
        }),
      );
      return { indexes, nextPageToken: page.nextPageToken };
    },
    deleteIndex: async ({ name }) => {
      const { index: id } = parseName("indexes/{index}", name, "name");
      const index = catalogue.index(id);
      if (index === undefined) throw notFound(name);
      requireIdle(parts, index);
      await deleteIndex(parts, index);
      return {};
    },
  };
}
