import { Code, failedPrecondition, RpcError } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Parts } from "../parts.ts";
import { announceIndex } from "../store/names.ts";
import { dropCorpusRows, dropIndexRows } from "../store/table-facts.ts";

/** Whether codes made elsewhere may come in: no operation builds the index yet. */
export function takesCodes({ operation, state }: IndexRecord): boolean {
  return state !== "ready" && !operation.startsWith("operations/");
}

/** Whether the operation that builds an index can still write to it. */
export function isBuilding({ engine }: Parts, index: IndexRecord): boolean {
  if (index.state === "ready" || takesCodes(index)) return false;
  try {
    return !engine.get(index.operation).done;
  } catch (error) {
    // Its operation was forgotten, so nothing will go on with it.
    if (error instanceof RpcError && error.code === Code.NotFound) return false;
    throw error;
  }
}

/** @throws FAILED_PRECONDITION INDEX_BUSY. */
export function requireIdle(parts: Parts, index: IndexRecord): void {
  if (parts.ingest.isOpen(index.indexId)) throw failedPrecondition("INDEX_BUSY", `indexes/${index.id} takes codes from a stream; end that first`, { index: `indexes/${index.id}` });
  if (isBuilding(parts, index)) throw failedPrecondition("INDEX_BUSY", `indexes/${index.id} is being built by ${index.operation}; cancel that first`, { operation: index.operation });
}

/** Forgets an index and its rows, and a corpus that was to be made with it; first from the views, so that nobody sees half of it. */
export async function deleteIndex({ catalogue, clickhouse }: Parts, index: IndexRecord): Promise<void> {
  await announceIndex(clickhouse, index, true);
  await dropIndexRows(clickhouse, index.indexId);
  catalogue.deleteIndex(index.indexId);
  const { corpus } = index;
  if (!corpus.ingested || corpus.ready) return;
  await dropCorpusRows(clickhouse, corpus.corpusId);
  catalogue.deleteCorpus(corpus.corpusId);
}
