import type { Login } from "@mistral-sae/clickhouse";
import { failedPrecondition, resourceExhausted } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Vocabularies } from "../corpus/vocabulary.ts";
import { WorkerPool } from "../workers/worker-pool.ts";
import { stem } from "../words/words.ts";
import type { Changes } from "./changes.ts";
import type { RankedFeature } from "./ranking.ts";
import type { SearchResult, SearchTask, SearchWorkerData } from "./search-worker.ts";
import type { VectorSources } from "./sources.ts";

/** What searching works with. */
export interface SearchParts {
  readonly sources: VectorSources;
  readonly changes: Changes;
  readonly vocabularies: Vocabularies;
  readonly url: string;
  readonly owner: Login;
  readonly threads: number;
  /** Most bytes that are held in memory of what was searched last. */
  readonly maxBytes: number;
}

/** What is searched for. */
export interface MeaningQuery {
  readonly query: string;
  /** The words of it that say something. */
  readonly words: readonly string[];
  /** Weight of words against vectors; undefined to take half of each where there are vectors. */
  readonly textWeight: number | undefined;
  readonly offset: number;
  readonly limit: number;
}

/** A page of features. */
export interface MeaningHits {
  readonly hits: readonly RankedFeature[];
  readonly total: number;
  /** Empty where words alone were searched. */
  readonly source: string;
  readonly nPending: number;
}

const DEFAULT_WEIGHT = 0.5;
const RETRY_MS = 60_000;

/** Searches in a thread of its own, which holds what it searches. */
export class MeaningSearch {
  readonly #parts: SearchParts;
  readonly #pool: WorkerPool;

  constructor(parts: SearchParts) {
    const { url, owner, threads, maxBytes } = parts;
    this.#parts = parts;
    this.#pool = new WorkerPool(new URL("./search-worker.ts", import.meta.url), 1, { url, login: owner, threads, maxBytes } satisfies SearchWorkerData);
  }

  /** @throws RpcError FAILED_PRECONDITION VECTORS_PENDING, RESOURCE_EXHAUSTED SEARCH_MEMORY, and what the source of vectors throws. */
  async search(index: IndexRecord, { query, words, textWeight, offset, limit }: MeaningQuery, signal: AbortSignal): Promise<MeaningHits> {
    const { sources, changes, vocabularies } = this.#parts;
    const source = sources.of(index);
    const own = sources.external === undefined;
    const usable = textWeight !== 1 && (!own || (await sources.hasSpace(index.indexId)));
    const vector = usable ? await sources.ofQuery(source, query, signal) : undefined;
    const tokens = await vocabularies.words(index.corpus.vocabularyId);
    const task = (weight: number): SearchTask => ({
      scope: { saeId: index.sae.saeId, dSae: index.sae.dSae, indexId: index.indexId, source: usable ? source.id : "", own: own && usable },
      freshness: changes.of(index.sae.saeId),
      stems: words.map(stem),
      tokensOf: words.map((word) => tokens.of(word)),
      vector,
      weight,
      offset,
      limit,
    });
    const wanted = textWeight ?? DEFAULT_WEIGHT;
    let found = await this.#run(task(usable ? wanted : 1));
    // Without a single vector their half of the score would say nothing.
    const none = !usable || (!own && found.nVectors === 0);
    if (none && textWeight !== undefined && textWeight < 1) {
      throw failedPrecondition("VECTORS_PENDING", `${index.sae.name} has no vectors of ${source.id} yet: EmbedExplanations computes them; search with text_weight 1 until then`, { source: source.id });
    }
    if (none && usable && wanted < 1) found = await this.#run(task(1));
    return { hits: found.hits, total: found.total, source: none ? "" : source.id, nPending: textWeight === 1 ? 0 : found.nPending };
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #run(task: SearchTask): Promise<SearchResult> {
    const result = await this.#pool.run<SearchResult>(task);
    if (result.tooLarge === undefined) return result;
    throw resourceExhausted("SEARCH_MEMORY", `what is searched takes ${result.tooLarge} bytes of memory, and MISTRAL_SAE_FEATURE_INDEX_SEARCH_MEMORY_MIB allows ${this.#parts.maxBytes}; raise it`, RETRY_MS);
  }
}
