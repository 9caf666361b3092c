import type { ClickHouse, Login } from "@mistral-sae/clickhouse";
import { type JobContext, once } from "@mistral-sae/jobs";
import { internal } from "@mistral-sae/rpc";
import type { IndexRecord } from "../catalogue/records.ts";
import type { Peers } from "../peers/peers.ts";
import { dropIndexRows, mergeIndexRows } from "../store/table-facts.ts";
import { BUILT_TABLES, STAGED_TABLES, T } from "../store/tables.ts";
import { WorkerPool } from "../workers/worker-pool.ts";
import type { RangeResult } from "./build-range.ts";
import { assembleFeatures } from "./assemble-features.ts";
import { buildWeights } from "./build-weights.ts";
import { invertTokens } from "./inverted-tables.ts";
import { packPages } from "./pack-pages.ts";
import type { CoactivationTask, CoactivationWorkerData } from "./coactivation-worker.ts";
import type { CorpusView } from "./corpus-view.ts";
import type { FeatureTask, FeatureWorkerData } from "./feature-worker.ts";
import type { PostingRange } from "./posting-lists.ts";

/** What building works with. */
export interface BuildParts {
  readonly clickhouse: ClickHouse;
  /** Where that is, for the workers. */
  readonly url: string;
  readonly owner: Login;
  readonly peers: Peers;
  readonly threads: number;
}

/** What the blocks held, all together. */
export interface IndexedTotals {
  readonly nBlocks: number;
  readonly nActivations: number;
}

// About 24 MB of posting lists: a range's firings cross to a worker and its rows come back as one insert.
const RANGE_FIRINGS = 4 << 20;
const RANGE_FEATURES = 4_096;
// An insert of co-activations.
const COACTIVE_FEATURES = 8_192;

/**
 * Makes statistics, examples, token counts and weights of an index whose postings are all there, and merges its
 * tables. Finished parts are noted in the operation's state, so that an interrupted build goes on where it stopped.
 * Returns the number of features that fired.
 */
export async function buildIndex(parts: BuildParts, index: IndexRecord, totals: IndexedTotals, texts: readonly string[], ctx: Pick<JobContext, "state" | "signal" | "progress">): Promise<number> {
  const { clickhouse } = parts;
  const { signal, state } = ctx;
  const { indexId } = index;
  await requireAll(clickhouse, indexId, totals);
  // What a former, abandoned build may have left.
  await once(ctx, "build:cleared", () => dropIndexRows(clickhouse, indexId, BUILT_TABLES));
  await once(ctx, "build:features", () => buildFeatures(parts, index, texts, ctx));
  await once(ctx, "build:coactivations", () => buildCoactivations(parts, index, ctx));
  await once(ctx, "build:weights", async () => {
    const report = (doneUnits: number) => ctx.progress({ stage: "logits", doneUnits, totalUnits: index.sae.dSae, unit: "features" });
    report(0);
    await buildWeights(parts, index, texts, { signal, state, report });
  });
  await once(ctx, "build:assembled", () => assembleFeatures(clickhouse, index, signal));
  await once(ctx, "build:pages", () => packPages(clickhouse, index, signal));
  await once(ctx, "build:inverted", () => invertTokens(clickhouse, indexId, signal));
  await once(ctx, "build:merged", async () => {
    ctx.progress({ stage: "merge", doneUnits: 0, totalUnits: 1, unit: "indexes" });
    await dropIndexRows(clickhouse, indexId, STAGED_TABLES);
    await mergeIndexRows(clickhouse, indexId, signal);
  });
  const { alive } = await clickhouse.row<{ alive: number }>(`SELECT countIf(n_firings > 0) AS alive FROM ${T.features} WHERE index_id = {indexId:UInt32}`, { indexId });
  return alive;
}

/** The ledger says what was acknowledged; the table must hold exactly that. */
async function requireAll(clickhouse: ClickHouse, indexId: number, wanted: IndexedTotals): Promise<void> {
  const got = await clickhouse.row<IndexedTotals>(`SELECT uniqExact(block) AS nBlocks, sum(n) AS nActivations FROM ${T.postings} WHERE index_id = {indexId:UInt32}`, { indexId });
  if (got.nBlocks !== wanted.nBlocks || got.nActivations !== wanted.nActivations) {
    throw internal("POSTINGS_INCOMPLETE", `index ${indexId}: the table holds ${got.nActivations} activations in ${got.nBlocks} blocks, wanted ${wanted.nActivations} in ${wanted.nBlocks}; delete the index and build it again`);
  }
}

async function buildFeatures(parts: BuildParts, index: IndexRecord, texts: readonly string[], { signal, state, progress }: Pick<JobContext, "state" | "signal" | "progress">): Promise<void> {
  const { clickhouse, url, owner: login, threads } = parts;
  const { indexId, corpus, nSequences, includeSpecialTokens: includeSpecial } = index;
  const ranges = await featureRanges(clickhouse, index);
  const total = ranges.reduce((sum, { firings }) => sum + firings, 0);
  const done = new Set((state.get("build:ranges") as number[] | undefined) ?? []);
  let firings = ranges.filter(({ range }) => done.has(range.start)).reduce((sum, range) => sum + range.firings, 0);
  const report = () => progress({ stage: "statistics", doneUnits: firings, totalUnits: total, unit: "activations" });
  report();
  const data: FeatureWorkerData = { url, login, texts };
  await using pool = new WorkerPool(new URL("./feature-worker.ts", import.meta.url), threads, data);
  const build = async () => {
    const run = async <R>(task: FeatureTask): Promise<R> => await pool.run<R>(task);
    const request = { indexId, corpusId: corpus.corpusId, contextSize: corpus.contextSize, nSequences, dVocab: texts.length, includeSpecial };
    const view = await run<CorpusView>({ kind: "load", request });
    await Promise.all(
      ranges
        .filter(({ range }) => !done.has(range.start))
        .map(async ({ range, firings: expected }) => {
          const result = await run<RangeResult>({ kind: "range", view, range });
          if (result.nFirings !== expected) throw internal("RANGE_INCOMPLETE", `features ${range.start} to ${range.end}: read ${result.nFirings} activations, wanted ${expected}`);
          done.add(range.start);
          state.set("build:ranges", [...done]);
          firings += expected;
          report();
        }),
    );
  };
  await pool.until(signal, build());
}

async function buildCoactivations({ url, owner: login, threads }: BuildParts, { indexId, sae }: IndexRecord, { signal, progress }: Pick<JobContext, "signal" | "progress">): Promise<void> {
  const { dSae } = sae;
  let done = 0;
  const report = () => progress({ stage: "co-activations", doneUnits: done, totalUnits: dSae, unit: "features" });
  report();
  const starts = Array.from({ length: Math.ceil(dSae / COACTIVE_FEATURES) }, (_, i) => i * COACTIVE_FEATURES);
  await using pool = new WorkerPool(new URL("./coactivation-worker.ts", import.meta.url), Math.min(threads, starts.length), { url, login } satisfies CoactivationWorkerData);
  const count = async (start: number) => {
    const end = Math.min(start + COACTIVE_FEATURES, dSae);
    await pool.run({ indexId, dSae, start, end } satisfies CoactivationTask);
    done += end - start;
    report();
  };
  await pool.until(signal, Promise.all(starts.map(count)));
}

/** Runs of features with about equally many firings, the same ones whenever they are asked for. */
async function featureRanges(clickhouse: ClickHouse, { indexId, sae, includeSpecialTokens }: IndexRecord): Promise<{ readonly range: PostingRange; readonly firings: number }[]> {
  const rows = await clickhouse.rows<{ f: number; n: number }>(
    `SELECT feature_index AS f, sum(n) AS n FROM ${T.postings} WHERE index_id = {indexId:UInt32} AND is_special <= {most:UInt8} GROUP BY f ORDER BY f`,
    { indexId, most: Number(includeSpecialTokens) },
  );
  const counts = new Map(rows.map(({ f, n }) => [f, n]));
  const ranges: { range: PostingRange; firings: number }[] = [];
  let start = 0;
  let firings = 0;
  for (let feature = 0; feature < sae.dSae; feature++) {
    const n = counts.get(feature) ?? 0;
    if (feature > start && (firings + n > RANGE_FIRINGS || feature - start >= RANGE_FEATURES)) {
      ranges.push({ range: { indexId, start, end: feature, includeSpecial: includeSpecialTokens }, firings });
      start = feature;
      firings = 0;
    }
    firings += n;
  }
  ranges.push({ range: { indexId, start, end: sae.dSae, includeSpecial: includeSpecialTokens }, firings });
  return ranges;
}
