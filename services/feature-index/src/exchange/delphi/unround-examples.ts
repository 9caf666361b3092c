import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { JobContext } from "@mistral-sae/jobs";
import { BlockLayout } from "../../blocks/block-layout.ts";
import { packPages } from "../../building/pack-pages.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import { dropIndexRows, mergeIndexRows } from "../../store/table-facts.ts";
import { T } from "../../store/tables.ts";

const FEATURES_AT_ONCE = 1_024;

/** Gives the examples that were built of bfloat16 the unrounded activations of the postings. Once begun it goes on where it stopped. */
export async function unroundExamples(clickhouse: ClickHouse, index: IndexRecord, { state, signal, progress }: Pick<JobContext, "state" | "signal" | "progress">): Promise<void> {
  if (state.get("unrounded") === true) return;
  const { indexId, corpus, nSequences, sae } = index;
  const { contextSize } = corpus;
  const { blockSequences } = new BlockLayout(contextSize, nSequences);
  const one = { signal, settings: { max_threads: 2, min_insert_block_size_rows: "4000000", max_block_size: "1000000" } } as const;
  if (state.get("unrounded:staged") !== true) {
    await dropIndexRows(clickhouse, indexId, ["staged_examples"]);
    for (let start = 0; start < sae.dSae; start += FEATURES_AT_ONCE) {
      progress({ stage: "examples", doneUnits: start, totalUnits: sae.dSae, unit: "features" });
      // bin_min and bin_max carry stratum and rank here.
      await clickhouse.command(
        `INSERT INTO ${T.stagedExamples} (index_id, feature_index, sequence_id, bin_min, bin_max, bin_contains, token_index, activation, pos, acts, acts_f32, token_ids)
         WITH toUInt32((e.sequence_id % {blockSequences:UInt32}) * {contextSize:UInt32}) AS first,
           arrayFilter((act, at) -> at >= first AND at < first + {contextSize:UInt32}, p.acts_f32, p.pos) AS plain
         SELECT {indexId:UInt32}, e.feature_index, e.sequence_id, e.stratum, e.rank, 0, e.token_index, plain[indexOf(e.pos, e.token_index)], e.pos, e.acts, plain, []
         FROM (SELECT *, intDiv(sequence_id, {blockSequences:UInt32}) AS block FROM ${T.featureExamples} WHERE index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}) AS e
         INNER JOIN (SELECT feature_index, block, pos, acts_f32 FROM ${T.postings} WHERE index_id = {indexId:UInt32} AND is_special = 0 AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}
           AND (feature_index, block) IN (SELECT feature_index, intDiv(sequence_id, {blockSequences:UInt32}) FROM ${T.featureExamples} WHERE index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32})) AS p
           USING (feature_index, block)`,
        { indexId, start, end: start + FEATURES_AT_ONCE, blockSequences, contextSize },
        one,
      );
    }
    state.set("unrounded:staged", true);
  }
  await dropIndexRows(clickhouse, indexId, ["feature_examples"]);
  await clickhouse.command(
    `INSERT INTO ${T.featureExamples} (index_id, feature_index, stratum, rank, sequence_id, token_index, activation, pos, acts, acts_f32)
     SELECT index_id, feature_index, toUInt8(bin_min), toUInt16(bin_max), sequence_id, token_index, activation, pos, acts, acts_f32 FROM ${T.stagedExamples}
     WHERE index_id = {indexId:UInt32} ORDER BY feature_index, bin_min, bin_max`,
    { indexId },
    { signal, settings: { max_threads: 1 } },
  );
  // Pages hold the rounded ones.
  await dropIndexRows(clickhouse, indexId, ["feature_pages"]);
  await packPages(clickhouse, index, signal);
  await mergeIndexRows(clickhouse, indexId, signal, ["feature_examples", "feature_pages"]);
  state.set("unrounded", true);
  await dropIndexRows(clickhouse, indexId, ["staged_examples"]);
}
