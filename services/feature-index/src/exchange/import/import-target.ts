import type { Sae } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { JobContext } from "@mistral-sae/jobs";
import { failedPrecondition, RpcError, toRpcError, Code } from "@mistral-sae/rpc";
import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { Catalogue } from "../../catalogue/catalogue.ts";
import type { CorpusRecord, ImportSource, IndexRecord } from "../../catalogue/records.ts";
import type { Peers } from "../../peers/peers.ts";
import { announceCorpus, announceIndex } from "../../store/names.ts";
import { dropCorpusRows, dropIndexRows } from "../../store/table-facts.ts";

/** What an import makes its index with. */
export interface TargetParts {
  readonly clickhouse: ClickHouse;
  readonly catalogue: Catalogue;
  readonly peers: Peers;
}

/** An SAE that the inference service knows, in whatever state. @throws RpcError NOT_FOUND, FAILED_PRECONDITION where its size is not known. */
export async function registeredSae({ saes }: Peers, name: string, signal: AbortSignal): Promise<Sae> {
  const { sae } = await saes.getSae({ name }, { signal });
  if (sae === undefined || sae.dSae === 0) throw failedPrecondition("SAE_UNKNOWN", `${name}: the inference service does not say how many features it has; register it first`, { sae: name });
  return sae;
}

/** What is told of the corpus of an import. */
export interface ImportedCorpus {
  readonly uri: string;
  readonly contextSize: number;
  readonly nSequences: number;
  readonly nTokens: number;
  readonly nSpecialTokens: number;
  readonly vocabularyId: number;
}

/** The index that an operation imports and the corpus under it, made when missing. Both have the same id. */
export function importTarget({ catalogue }: TargetParts, operation: string, sae: Sae, importedFrom: ImportSource, corpus: ImportedCorpus): IndexRecord {
  const existing = catalogue.indexes().find((index) => index.operation === operation);
  if (existing !== undefined) return existing;
  const record = catalogue.corpora().find(({ requestId }) => requestId === operation) ?? addCorpus(catalogue, operation, sae.name, importedFrom, corpus);
  catalogue.setCorpusOrigin(record.corpusId, operation, corpus.vocabularyId);
  const { nSequences, nTokens, nSpecialTokens } = corpus;
  catalogue.setCorpusProgress(record.corpusId, { chunks: 1, nDocuments: nSequences, nSequences, nTokens, nSpecialTokens });
  const saeRecord = catalogue.sae({ name: sae.name, digest: sae.digest, dSae: sae.dSae, hookName: sae.hookName });
  const stored = catalogue.corpus(record.id) as CorpusRecord;
  const index = catalogue.indexFor(operation, record.id, { sae: saeRecord, corpus: stored, maxTokens: 0, includeSpecialTokens: false, importedFrom });
  catalogue.setIndexCounts(index.indexId, { nSequences, nTokens, nSpecialTokens, nActivations: 0, nFeaturesAlive: 0 });
  return catalogue.index(index.id) as IndexRecord;
}

function addCorpus(catalogue: Catalogue, operation: string, sae: string, importedFrom: ImportSource, { uri, contextSize }: ImportedCorpus): CorpusRecord {
  const preferred = `${sae.split("/").at(-1)}-${importedFrom}`;
  let id = preferred.slice(0, 63);
  for (let n = 2; catalogue.corpus(id) !== undefined; n++) id = `${preferred.slice(0, 62 - String(n).length)}-${n}`;
  const model = sae.split("/").slice(0, 2).join("/");
  return catalogue.addCorpus({ id, requestId: operation, request: importedFrom, source: JSON.stringify({ uri }), model, contextSize });
}

/** The index of an operation. @throws RpcError FAILED_PRECONDITION INDEX_DELETED. */
export function targetOf({ catalogue }: TargetParts, operation: string): IndexRecord {
  const index = catalogue.indexes().find((record) => record.operation === operation);
  if (index === undefined) throw failedPrecondition("INDEX_DELETED", "the index of this import was deleted; import the folder anew");
  return index;
}

/** Runs a part of an import. Where the files are at fault, what is there of its index and its corpus goes, before the error does. */
export async function orNothing<T>(parts: TargetParts, ctx: Pick<JobContext, "name" | "signal">, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!ctx.signal.aborted && isFault(toRpcError(error))) await forgetImport(parts, ctx.name);
    throw error;
  }
}

/** Whether the files are to blame: what has nothing to do with them may be gone at the next attempt. */
function isFault({ code }: RpcError): boolean {
  return code === Code.InvalidArgument;
}

async function forgetImport({ catalogue, clickhouse }: TargetParts, operation: string): Promise<void> {
  for (const index of catalogue.indexes().filter((record) => record.operation === operation)) {
    await announceIndex(clickhouse, index, true);
    await dropIndexRows(clickhouse, index.indexId);
    catalogue.deleteIndex(index.indexId);
  }
  for (const corpus of catalogue.corpora().filter(({ requestId }) => requestId === operation)) {
    await announceCorpus(clickhouse, corpus, true);
    await dropCorpusRows(clickhouse, corpus.corpusId);
    catalogue.deleteCorpus(corpus.corpusId);
  }
}
