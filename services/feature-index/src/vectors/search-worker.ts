import { parentPort, workerData } from "node:worker_threads";
import { ClickHouse, type Login } from "@mistral-sae/clickhouse";
import { serveTasks } from "../workers/worker-side.ts";
import type { WordToken } from "../words/token-words.ts";
import { rankFeatures, type Ranking } from "./ranking.ts";
import { type Freshness, type SearchScope, SearchState } from "./search-state.ts";
import { RowProduct } from "./vector-rows.ts";
import { wordScores } from "./word-scores.ts";

/** What the search's thread is started with. */
export interface SearchWorkerData {
  readonly url: string;
  readonly login: Login;
  readonly threads: number;
  /** Most bytes that are held of what was searched last. */
  readonly maxBytes: number;
}

/** A search for words. */
export interface SearchTask {
  readonly scope: SearchScope;
  readonly freshness: Freshness;
  readonly stems: readonly string[];
  /** Tokens of each word. */
  readonly tokensOf: readonly (readonly WordToken[])[];
  /** Of the words; undefined to search by words alone. */
  readonly vector: Float32Array | undefined;
  /** Weight of words against vectors. */
  readonly weight: number;
  readonly offset: number;
  readonly limit: number;
}

/** What was found, and what it was found in. */
export interface SearchResult extends Ranking {
  readonly nPending: number;
  readonly nVectors: number;
  /** Bytes that the index would take where that is more than may be held; nothing was searched then. */
  readonly tooLarge?: number;
}

const { url, login, threads, maxBytes } = workerData as SearchWorkerData;
const clickhouse = new ClickHouse({ url, login, maxConnections: 4 });
const product = RowProduct.open(threads);
/** By what was searched, the last one last. */
const held = new Map<string, { readonly state: SearchState; readonly removed: number }>();

// One search at a time: a state is not refreshed under another one's feet.
let last: Promise<unknown> = Promise.resolve();

serveTasks(parentPort, async (task: SearchTask) => {
  const searched = last.then(async () => await search(task));
  last = searched.catch(() => undefined);
  return { result: await searched };
});

async function search({ scope, freshness, stems, tokensOf, vector, weight, offset, limit }: SearchTask): Promise<SearchResult> {
  const state = await stateOf(scope, freshness);
  const { explanations, featureVectors } = state;
  const { nPending, nVectors } = explanations;
  if (state.bytes > maxBytes) {
    held.delete(keyOf(scope));
    return { hits: [], total: 0, nPending, nVectors, tooLarge: state.bytes };
  }
  const text = new Float64Array(scope.dSae);
  const cosine = new Float64Array(scope.dSae);
  // ClickHouse reads while the products are computed.
  const words = weight > 0 ? wordScores(clickhouse, state, scope.indexId, stems, tokensOf, text) : Promise.resolve();
  words.catch(() => undefined);
  if (weight < 1 && vector !== undefined) {
    const raise = (feature: number | undefined, value: number): void => {
      if (feature !== undefined && value > (cosine[feature] ?? Number.POSITIVE_INFINITY)) cosine[feature] = value;
    };
    await explanations.vectors.cosines(await product, vector, (row, value) => raise(explanations.featureOf(row), value));
    await featureVectors.cosines(await product, vector, raise);
  }
  await words;
  return { ...rankFeatures(text, cosine, weight, offset, limit), nPending, nVectors };
}

async function stateOf(scope: SearchScope, freshness: Freshness): Promise<SearchState> {
  const key = keyOf(scope);
  const known = held.get(key);
  held.delete(key);
  const { removed } = freshness;
  const state = known?.removed === removed ? known.state : await SearchState.load(clickhouse, scope, freshness);
  await state.refresh(freshness);
  held.set(key, { state, removed });
  let bytes = [...held.values()].reduce((sum, entry) => sum + entry.state.bytes, 0);
  for (const [oldest, entry] of held) {
    if (bytes <= maxBytes || oldest === key) break;
    held.delete(oldest);
    bytes -= entry.state.bytes;
  }
  return state;
}

function keyOf({ saeId, indexId, source }: SearchScope): string {
  return JSON.stringify([saeId, indexId, source]);
}
