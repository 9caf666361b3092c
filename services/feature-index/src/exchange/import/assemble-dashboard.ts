import type { ClickHouse } from "@mistral-sae/clickhouse";
import { InputError } from "@mistral-sae/tensor";
import { internal } from "@mistral-sae/rpc";
import type { IndexRecord } from "../../catalogue/records.ts";
import { T } from "../../store/tables.ts";
import { NO_TOKEN } from "./example-columns.ts";

const EXAMPLES_A_RANGE = 250_000;
const FEATURES_A_RANGE = 4_096;
const TOP_TOKENS = 20;
const STORED_TEXTS = 10;
/** What stratum and rank can say. */
const MOST_STRATA = 255;
const MOST_EXAMPLES = 65_535;
/** One block, one part: all of the rows or none. */
const WHOLE = { max_threads: 1, min_insert_block_size_rows: "1000000", min_insert_block_size_bytes: "0", max_block_size: "1000000" } as const;

interface Range {
  readonly start: number;
  readonly end: number;
  readonly nFeatures: number;
  readonly nExamples: number;
}

/**
 * Makes `features` and `feature_examples` of what was read: intervals of activations become strata, the largest first, and the group
 * of the largest stratum 0; top tokens are counted over the examples. Ranges of features that are there are left as they are.
 */
export async function assembleDashboard(clickhouse: ClickHouse, index: IndexRecord, uri: string, signal: AbortSignal, report: (features: number, total: number) => void): Promise<void> {
  const ranges = await planRanges(clickhouse, index.indexId, uri, signal);
  const total = ranges.reduce((sum, { nFeatures }) => sum + nFeatures, 0);
  let done = 0;
  for (const range of ranges) {
    signal.throwIfAborted();
    report(done, total);
    await unlessThere(clickhouse, T.featureExamples, index.indexId, range, range.nExamples, () => insertExamples(clickhouse, index.indexId, range, signal));
    await unlessThere(clickhouse, T.features, index.indexId, range, range.nFeatures, () => insertFeatures(clickhouse, index, range, signal));
    done += range.nFeatures;
  }
}

async function planRanges(clickhouse: ClickHouse, indexId: number, uri: string, signal: AbortSignal): Promise<Range[]> {
  const rows = await clickhouse.rows<{ feature: number; n: number; bins: number }>(
    `SELECT feature_index AS feature, e.n AS n, e.bins AS bins FROM ${T.stagedGiven} AS g
     LEFT JOIN (SELECT feature_index, count() AS n, uniqExact(bin_max, bin_min) AS bins FROM ${T.stagedExamples} WHERE index_id = {indexId:UInt32} GROUP BY feature_index) AS e USING feature_index
     WHERE index_id = {indexId:UInt32} ORDER BY feature`,
    { indexId },
    { signal },
  );
  const ranges: { start: number; end: number; nFeatures: number; nExamples: number }[] = [];
  for (const { feature, n, bins } of rows) {
    if (n > MOST_EXAMPLES) throw new InputError(`feature ${feature} has ${n} examples`, { file: uri, field: "activations", got: n, wanted: `at most ${MOST_EXAMPLES} a feature` });
    if (bins > MOST_STRATA) throw new InputError(`the examples of feature ${feature} stand in ${bins} intervals`, { file: uri, field: "activations", got: bins, wanted: `at most ${MOST_STRATA} a feature` });
    const last = ranges.at(-1);
    if (last === undefined || last.nExamples + n > EXAMPLES_A_RANGE || last.nFeatures === FEATURES_A_RANGE) ranges.push({ start: feature, end: feature + 1, nFeatures: 1, nExamples: n });
    else Object.assign(last, { end: feature + 1, nFeatures: last.nFeatures + 1, nExamples: last.nExamples + n });
  }
  return ranges;
}

async function unlessThere(clickhouse: ClickHouse, table: string, indexId: number, { start, end }: Range, wanted: number, work: () => Promise<void>): Promise<void> {
  const { n } = await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${table} WHERE index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}`, { indexId, start, end });
  if (n === wanted) return;
  if (n > 0) throw internal("FEATURES_INCOMPLETE", `features ${start} to ${end} of index ${indexId}: got ${n} rows in ${table}, wanted none or ${wanted}`);
  await work();
}

const IN_RANGE = "index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}";
const TOP = "(isNaN(bin_max) OR (bin_min = -1 AND bin_contains = -1))";

async function insertExamples(clickhouse: ClickHouse, indexId: number, { start, end }: Range, signal: AbortSignal): Promise<void> {
  await clickhouse.command(
    `INSERT INTO ${T.featureExamples} (index_id, feature_index, stratum, rank, sequence_id, token_index, activation, pos, acts, acts_f32)
     SELECT {indexId:UInt32}, feature_index, stratum, toUInt16(row_number() OVER (PARTITION BY feature_index, stratum ORDER BY activation DESC, sequence_id) - 1) AS rank,
       sequence_id, token_index, activation, pos, acts, acts_f32
     FROM (SELECT *, if(top, 0, toUInt8(dense_rank() OVER (PARTITION BY feature_index, top ORDER BY bin_max DESC, bin_min DESC))) AS stratum
       FROM (SELECT *, ${TOP} AS top FROM ${T.stagedExamples} WHERE ${IN_RANGE}))
     ORDER BY feature_index, stratum, rank`,
    { indexId, start, end },
    { signal, settings: WHOLE },
  );
}

async function insertFeatures(clickhouse: ClickHouse, { indexId, corpus }: IndexRecord, { start, end }: Range, signal: AbortSignal): Promise<void> {
  await clickhouse.command(
    `INSERT INTO ${T.features} (index_id, feature_index, max_activation, strata_min, strata_max, given_strata_share, top_token_ids, top_token_n, top_token_sum, top_tokens, n_firings_sampled,
       pos_token_ids, pos_logits, pos_tokens, neg_token_ids, neg_logits, neg_tokens, nearest, nearest_cosine, imported, given_frac_nonzero, given_hist_edges, given_hist_counts)
     WITH
       examples AS (SELECT * FROM ${T.stagedExamples} WHERE ${IN_RANGE}),
       largest AS (SELECT feature_index, max(activation) AS largest FROM examples GROUP BY feature_index),
       bins AS (SELECT feature_index, arraySort(b -> (-b.1, -b.2), groupArray((bin_max, bin_min, share))) AS bins
         FROM (SELECT feature_index, bin_max, bin_min, any(bin_contains) AS share FROM examples WHERE NOT ${TOP} GROUP BY feature_index, bin_max, bin_min) GROUP BY feature_index),
       firings AS (SELECT feature_index, arrayJoin(arrayZip(token_ids, acts_f32)) AS firing FROM examples),
       tokens AS (SELECT feature_index, arraySort(t -> (-t.1, t.2), groupArray((total, token_id, n, str_token))) AS tokens
         FROM (SELECT feature_index, firing.1 AS token_id, count() AS n, sum(firing.2) AS total FROM firings WHERE token_id != {noToken:UInt32}
           GROUP BY feature_index, token_id ORDER BY feature_index, total DESC, token_id LIMIT {topTokens:UInt32} BY feature_index) AS t
         INNER JOIN (SELECT token_id, str_token FROM ${T.vocabularies} FINAL WHERE vocabulary_id = {vocabularyId:UInt32}) AS v USING token_id GROUP BY feature_index),
       counted AS (SELECT feature_index, countIf(firing.1 != {noToken:UInt32}) AS n_counted FROM firings GROUP BY feature_index)
     SELECT {indexId:UInt32}, g.feature_index, toFloat32(ifNull(g.max_activation, largest)),
       arrayMap(b -> toFloat32(b.2), bins), arrayMap(b -> toFloat32(b.1), bins), arrayMap(b -> b.3, bins),
       arrayMap(t -> t.2, tokens), arrayMap(t -> toUInt32(t.3), tokens), arrayMap(t -> toFloat32(t.1), tokens), arrayMap(t -> t.4, arraySlice(tokens, 1, {storedTexts:UInt32})), n_counted,
       g.pos_token_ids, g.pos_logits, g.pos_tokens, g.neg_token_ids, g.neg_logits, g.neg_tokens, g.nearest, g.nearest_cosine, 1, g.frac_nonzero, g.hist_edges, g.hist_counts
     FROM (SELECT * FROM ${T.stagedGiven} WHERE ${IN_RANGE}) AS g
     LEFT JOIN largest USING feature_index LEFT JOIN bins USING feature_index LEFT JOIN tokens USING feature_index LEFT JOIN counted USING feature_index
     ORDER BY g.feature_index`,
    { indexId, start, end, vocabularyId: corpus.vocabularyId, noToken: NO_TOKEN, topTokens: TOP_TOKENS, storedTexts: STORED_TEXTS },
    { signal, settings: WHOLE },
  );
}

/** Counts the tokens of the examples, special ones left out. */
export async function countTokens(clickhouse: ClickHouse, { indexId, corpus }: IndexRecord, special: readonly number[], signal: AbortSignal): Promise<void> {
  const { n } = await clickhouse.row<{ n: number }>(`SELECT count() AS n FROM ${T.tokenCounts} WHERE index_id = {indexId:UInt32}`, { indexId });
  if (n > 0) return;
  await clickhouse.command(
    `INSERT INTO ${T.tokenCounts} (index_id, token_id, n) SELECT {indexId:UInt32}, token_id, count() AS n
     FROM (SELECT arrayJoin(tokens) AS token_id FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32}) WHERE NOT has({special:Array(UInt32)}, token_id) GROUP BY token_id ORDER BY token_id`,
    { indexId, corpusId: corpus.corpusId, special },
    { signal, settings: WHOLE },
  );
}
