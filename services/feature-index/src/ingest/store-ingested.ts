import type { ClickHouse } from "@mistral-sae/clickhouse";
import { SAMPLED_ACTIVATIONS } from "../blocks/block-columns.ts";
import { BLOCK_POSITIONS, BlockLayout } from "../blocks/block-layout.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import { type BlockSummary, storeBlock, type StoreParts } from "../indexing/store-block.ts";
import { T } from "../store/tables.ts";
import type { BlockAssembly } from "./block-assembly.ts";

/** What storing blocks of codes made elsewhere works with. */
export interface StoreIngestedParts extends StoreParts {
  readonly clickhouse: ClickHouse;
}

/** Stores a block's windows and codes; repeating it stores nothing twice. */
export async function storeIngested(parts: StoreIngestedParts, index: IndexRecord, block: number, assembly: BlockAssembly, signal: AbortSignal): Promise<BlockSummary> {
  const { clickhouse, stored } = parts;
  const { indexId, sae, corpus } = index;
  const { corpusId, contextSize } = corpus;
  const firstSequence = new BlockLayout(contextSize, 0).blockSequences * block;
  try {
    if (!(await hasWindows(clickhouse, corpusId, firstSequence, assembly.nWindows, signal))) {
      await clickhouse.insertColumns(T.sequences, assembly.sequenceColumns(corpusId, firstSequence), { signal, deduplicationToken: `${T.sequences}/${corpusId}/block ${block}` });
    }
    return await storeBlock(parts, { indexId, dSae: sae.dSae, contextSize, block }, assembly.codes, { sampleStride: strideOf(index, block), signal });
  } catch (error) {
    stored.forget(indexId);
    throw error;
  }
}

/**
 * One token in this many is sampled of a block. How long the corpus will be nobody knows, so the stride doubles as it grows;
 * `FinishIndex` thins the first blocks out to the last one's stride, of which theirs are divisors.
 */
export function strideOf({ ingestL0 }: Pick<IndexRecord, "ingestL0">, block: number): number {
  const activations = (block + 1) * BLOCK_POSITIONS * ingestL0;
  return 2 ** Math.max(0, Math.ceil(Math.log2(activations / SAMPLED_ACTIVATIONS)));
}

/** Whether an attempt whose end nobody knows has stored these windows; a part of them is made whole by the deduplication token. */
async function hasWindows(clickhouse: ClickHouse, corpusId: number, first: number, windows: number, signal: AbortSignal): Promise<boolean> {
  const { n } = await clickhouse.row<{ n: number }>(
    `SELECT count() AS n FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id >= {first:UInt32} AND sequence_id < {end:UInt32}`,
    { corpusId, first, end: first + windows },
    { signal },
  );
  return n === windows;
}
