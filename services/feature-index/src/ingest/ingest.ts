import type { IngestActivationsRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { failedPrecondition, invalidArgument, notFound, parseName, resourceExhausted, unavailable } from "@mistral-sae/rpc";
import type { Catalogue } from "../catalogue/catalogue.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import type { ChunkRules } from "./chunk.ts";
import { ShardStream, type ShardParts } from "./shard-stream.ts";

/** What taking codes works with. */
export interface IngestParts extends Omit<ShardParts, "ledger"> {
  readonly catalogue: Catalogue;
  /** Streams that are taken at a time. */
  readonly streams: number;
}

const RETRY_MS = 1_000;

/** The streams of codes made elsewhere that are open. */
export class Ingest {
  readonly #parts: IngestParts;
  /** Shards that a stream brings, as `{indexId}/{shard}`. */
  readonly #open = new Set<string>();
  #streams = 0;

  constructor(parts: IngestParts) {
    this.#parts = parts;
  }

  /** Whether a stream brings codes of this index. */
  isOpen(indexId: number): boolean {
    return [...this.#open].some((key) => key.startsWith(`${indexId}/`));
  }

  /**
   * Takes one stream: the chunks of one shard, or none. Returns how far each shard of its index has come.
   * @throws RESOURCE_EXHAUSTED INGEST_STREAMS, UNAVAILABLE SHARD_BUSY, and as ShardStream.
   */
  async take(requests: AsyncIterable<IngestActivationsRequest>, signal: AbortSignal): Promise<ReadonlyMap<number, number>> {
    const { streams, catalogue } = this.#parts;
    if (this.#streams >= streams) throw resourceExhausted("INGEST_STREAMS", `${streams} streams of codes are taken already, and no more at a time; try again`, RETRY_MS);
    this.#streams += 1;
    let index: IndexRecord | undefined;
    let shard: { readonly number: number; readonly key: string; readonly stream: ShardStream } | undefined;
    try {
      for await (const request of requests) {
        index ??= this.#indexFor(request.index);
        requireOne("index", request.index, `indexes/${index.id}`);
        if (request.sequences.length === 0) {
          requireEmpty(request);
          continue;
        }
        shard ??= this.#begin(index, request.shard, signal);
        requireOne("shard", request.shard === shard.number ? "" : String(request.shard), String(shard.number));
        await shard.stream.take(request);
      }
      if (index === undefined) throw invalidArgument("index", "got no message, wanted one that names the index");
      await shard?.stream.end();
      return new Map(catalogue.ingest.shards(index.indexId).filter(({ nextSeq }) => nextSeq > 0).map(({ shard: number, nextSeq }) => [number, nextSeq - 1]));
    } finally {
      await shard?.stream.close();
      if (shard !== undefined) this.#open.delete(shard.key);
      this.#streams -= 1;
    }
  }

  #indexFor(name: string): IndexRecord {
    const { index: id } = parseName("indexes/{index}", name, "index");
    const index = this.#parts.catalogue.index(id);
    if (index === undefined) throw notFound(name);
    return index;
  }

  #begin(index: IndexRecord, number: number, signal: AbortSignal): { number: number; key: string; stream: ShardStream } {
    const { catalogue } = this.#parts;
    const name = `indexes/${index.id}`;
    if (index.ingestL0 === 0) throw failedPrecondition("INDEX_TAKES_NO_CODES", `${name} was made by another call than CreateIndex, and takes no codes`, { index: name });
    // Read again: what the first message found may have been finished since.
    if (catalogue.index(index.id)?.operation.startsWith("operations/") !== false) throw failedPrecondition("INDEX_FINISHED", `${name} is finished, and takes no more codes`, { index: name });
    const key = `${index.indexId}/${number}`;
    if (this.#open.has(key)) throw unavailable("SHARD_BUSY", `another stream brings shard ${number} of ${name}; try again when it has ended`, RETRY_MS);
    const stream = new ShardStream({ ...this.#parts, ledger: catalogue.ingest }, index, number, this.#rulesOf(index), signal);
    this.#open.add(key);
    return { number, key, stream };
  }

  #rulesOf({ corpus, sae }: IndexRecord): ChunkRules {
    const vocabulary = this.#parts.catalogue.vocabularyById(corpus.vocabularyId);
    return { contextSize: corpus.contextSize, dSae: sae.dSae, dVocab: vocabulary?.size ?? 0, specialIds: new Set(vocabulary?.specialIds) };
  }
}

function requireOne(field: string, got: string, wanted: string): void {
  if (got !== "" && got !== wanted) throw invalidArgument(field, `got ${got} after ${wanted}, wanted one ${field} a stream`);
}

function requireEmpty({ docIds, dataSources, code }: IngestActivationsRequest): void {
  if (docIds.length > 0) throw invalidArgument("doc_ids", `got ${docIds.length}, wanted none in a message without sequences`);
  if (dataSources.length > 0) throw invalidArgument("data_sources", `got ${dataSources.length}, wanted none in a message without sequences`);
  if (code !== undefined) throw invalidArgument("code", "is set, wanted none in a message without sequences");
}
