import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { JobContext } from "@mistral-sae/jobs";
import { internal } from "@mistral-sae/rpc";
import { type WireSparseCodeInput, WIRE_DTYPE } from "@mistral-sae/tensor";
import { BlockLayout } from "../../blocks/block-layout.ts";
import type { IndexRecord } from "../../catalogue/records.ts";
import { storeBlock, type StoreParts } from "../../indexing/store-block.ts";
import { T } from "../../store/tables.ts";

/** What storing staged blocks works with. */
export interface StagedBlockParts extends StoreParts {
  readonly clickhouse: ClickHouse;
  readonly blocksInParallel: number;
}

/** How far it has come, in the operation's state. */
interface Done {
  readonly next: number;
  readonly nBlocks: number;
  readonly nActivations: number;
}

/** Blocks between two notes in the operation's state. */
const BLOCKS_A_NOTE = 8;

/**
 * Makes the blocks of an index of its staged activations, some at a time, in the order of their numbers. Returns the blocks that
 * hold something. @throws RpcError INTERNAL where activations are missing; InputError where one comes twice.
 */
export async function storeStagedBlocks(parts: StagedBlockParts, index: IndexRecord, { nActivations, sampleStride, file }: { readonly nActivations: number; readonly sampleStride: number; readonly file: string }, ctx: Pick<JobContext, "state" | "signal" | "progress">): Promise<{ readonly nBlocks: number }> {
  const { nBlocks: total } = new BlockLayout(index.corpus.contextSize, index.nSequences);
  let done = (ctx.state.get("blocks") ?? { next: 0, nBlocks: 0, nActivations: 0 }) as Done;
  if (done.next === 0) parts.stored.forget(index.indexId);
  while (done.next < total) {
    ctx.progress({ stage: "blocks", doneUnits: done.nActivations, totalUnits: nActivations, unit: "activations" });
    const end = Math.min(total, done.next + BLOCKS_A_NOTE);
    const waiting = Array.from({ length: end - done.next }, (_, i) => done.next + i);
    const counts: number[] = [];
    const work = async () => {
      for (let block = waiting.shift(); block !== undefined; block = waiting.shift()) counts.push(await storeStaged(parts, index, block, sampleStride, ctx.signal));
    };
    await Promise.all(Array.from({ length: parts.blocksInParallel }, work));
    done = { next: end, nBlocks: done.nBlocks + counts.filter((n) => n > 0).length, nActivations: done.nActivations + counts.reduce((sum, n) => sum + n, 0) };
    ctx.state.set("blocks", done);
  }
  if (done.nActivations !== nActivations) throw internal("STAGED_INCOMPLETE", `${file}: ${done.nActivations} activations were staged, wanted ${nActivations}`);
  return done;
}

async function storeStaged(parts: StagedBlockParts, { indexId, sae, corpus, nSequences }: IndexRecord, block: number, sampleStride: number, signal: AbortSignal): Promise<number> {
  const { contextSize, corpusId } = corpus;
  const { start, end } = new BlockLayout(contextSize, nSequences).sequencesOf(block);
  const windows = await parts.clickhouse.rows<{ length: number; special: number[] }>(
    `SELECT length(tokens) AS length, special FROM ${T.sequences} WHERE corpus_id = {corpusId:UInt32} AND sequence_id >= {start:UInt32} AND sequence_id < {end:UInt32} ORDER BY sequence_id`,
    { corpusId, start, end },
    { signal },
  );
  if (windows.length !== end - start) throw internal("CORPUS_INCOMPLETE", `corpus ${corpusId} has ${windows.length} windows from ${start} to ${end}, wanted ${end - start}`);
  const { code, n } = await stagedCode(parts.clickhouse, { indexId, block, dSae: sae.dSae, nTokens: (end - start) * contextSize }, signal);
  if (n === 0) return 0;
  const place = { indexId, dSae: sae.dSae, contextSize, block };
  const codes = { lengths: Uint32Array.from(windows, ({ length }) => length), special: windows.map(({ special }) => special), codes: [code] };
  return (await storeBlock(parts, place, codes, { sampleStride, keepFloat32: true, signal })).nActivations;
}

/** The staged activations of a block as the code of its tokens; every window has all of its positions. */
async function stagedCode(clickhouse: ClickHouse, { indexId, block, dSae, nTokens }: { readonly indexId: number; readonly block: number; readonly dSae: number; readonly nTokens: number }, signal: AbortSignal): Promise<{ readonly code: WireSparseCodeInput; readonly n: number }> {
  const sorted = `(SELECT pos, feature_index, act FROM ${T.stagedActivations} WHERE index_id = {indexId:UInt32} AND block = {block:UInt32} ORDER BY pos, feature_index)`;
  const column = async (expression: string): Promise<Uint8Array<ArrayBuffer>> => {
    const chunks: Uint8Array[] = [];
    // A column alone, as its bytes lie in memory.
    for await (const chunk of clickhouse.bytes(`SELECT ${expression} FROM ${sorted}`, "RowBinary", { indexId, block }, { signal, settings: { max_threads: 1 } })) chunks.push(chunk.slice());
    const joined = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      joined.set(chunk, at);
      at += chunk.length;
    }
    return joined;
  };
  const featureIndices = await column("feature_index");
  const activations = await column("act");
  const pos = new Uint16Array((await column("pos")).buffer);
  const offsets = new Uint32Array(nTokens + 1);
  for (const at of pos) offsets[at + 1]! += 1;
  for (let token = 0; token < nTokens; token++) offsets[token + 1]! += offsets[token] as number;
  return { n: pos.length, code: { nTokens, k: 0, dSae, featureIndices, activations, activationDtype: WIRE_DTYPE.F32, rowOffsets: new Uint8Array(offsets.buffer) } };
}
