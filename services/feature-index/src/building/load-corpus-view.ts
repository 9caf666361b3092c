import { type ClickHouse, constantColumn, fixedColumn } from "@mistral-sae/clickhouse";
import { BLOCK_POSITIONS, BlockLayout } from "../blocks/block-layout.ts";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import { blockStride, type CorpusView } from "./corpus-view.ts";

/** Which text is loaded. */
export interface CorpusViewRequest {
  readonly indexId: number;
  readonly corpusId: number;
  readonly contextSize: number;
  /** Windows of the index, from the corpus' first. */
  readonly nSequences: number;
  readonly dVocab: number;
  readonly includeSpecial: boolean;
}

/** Reads the windows of an index into shared memory and stores how often each token stands in the sampled blocks. */
export async function loadCorpusView(clickhouse: ClickHouse, request: CorpusViewRequest): Promise<CorpusView> {
  const { corpusId, contextSize, nSequences, dVocab } = request;
  const layout = new BlockLayout(contextSize, nSequences);
  const stride = blockStride(layout.nBlocks);
  const nSampled = Math.ceil(layout.nBlocks / stride);
  const docs = new Uint32Array(new SharedArrayBuffer(4 * nSequences));
  const windowSources = new Uint16Array(new SharedArrayBuffer(2 * nSequences));
  const tokenMemory = new SharedArrayBuffer((dVocab <= 65_536 ? 2 : 4) * nSampled * BLOCK_POSITIONS);
  const tokens = dVocab <= 65_536 ? new Uint16Array(tokenMemory) : new Uint32Array(tokenMemory);
  const blockStarts = new Float64Array(new SharedArrayBuffer(8 * layout.nBlocks));
  for (let block = 0; block < layout.nBlocks; block++) blockStarts[block] = block % stride === 0 ? (block / stride) * BLOCK_POSITIONS : -1;

  const sources = await clickhouse.rows<{ source: string }>(
    `SELECT DISTINCT source FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id < {nSequences:UInt32} ORDER BY source`,
    { corpusId, nSequences },
  );
  if (sources.length > 65_535) throw new Error(`the corpus has ${sources.length} sources, wanted at most 65535`);
  const counts = new Float64Array(dVocab);
  let sequence = 0;
  const reader = new RowReader((row) => {
    const doc = row.u32();
    const source = row.u32();
    const ids = row.array(4);
    const special = row.array(2);
    docs[sequence] = doc;
    windowSources[sequence] = source;
    const block = Math.floor(sequence / layout.blockSequences);
    const blockStart = blockStarts[block] as number;
    if (blockStart >= 0) {
      const first = blockStart + (sequence - block * layout.blockSequences) * contextSize;
      const view = new DataView(ids.buffer, ids.byteOffset, ids.byteLength);
      for (let i = 0; i < ids.byteLength / 4; i++) {
        const id = view.getUint32(4 * i, true);
        tokens[first + i] = id;
        counts[id]! += 1;
      }
      if (!request.includeSpecial) for (let i = 0; i < special.byteLength; i += 2) counts[tokens[first + (special[i] as number) + 256 * (special[i + 1] as number)] as number]! -= 1;
    }
    sequence += 1;
  });
  // The names' places in the sorted list, so that rows carry a small number.
  const sql = `SELECT doc_id, toUInt32(indexOf({names:Array(String)}, toString(source)) - 1) AS source_at, tokens, special FROM ${T.sequences}
    WHERE corpus_id = {corpusId:UInt32} AND sequence_id < {nSequences:UInt32} ORDER BY sequence_id`;
  const names = sources.map(({ source }) => source);
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { names, corpusId, nSequences })) reader.push(chunk);
  reader.end();
  if (sequence !== nSequences) throw new Error(`corpus ${corpusId} has ${sequence} windows, wanted ${nSequences}`);
  await storeTokenCounts(clickhouse, request.indexId, counts);
  return { contextSize, blockSequences: layout.blockSequences, docs, windowSources, sources: names, blockStarts, tokens, dVocab };
}

async function storeTokenCounts(clickhouse: ClickHouse, indexId: number, counts: Float64Array): Promise<void> {
  const seen = Array.from(counts, (n, tokenId) => ({ tokenId, n })).filter(({ n }) => n > 0);
  const columns = [
    constantColumn("index_id", "UInt32", indexId, seen.length),
    fixedColumn("token_id", "UInt32", Uint32Array.from(seen, ({ tokenId }) => tokenId)),
    fixedColumn("n", "UInt64", BigUint64Array.from(seen, ({ n }) => BigInt(n))),
  ];
  await clickhouse.insertColumns(T.tokenCounts, columns, { deduplicationToken: `${indexId}` });
}
