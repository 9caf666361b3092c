import type { ClickHouse } from "@mistral-sae/clickhouse";
import type { IngestActivationsRequest } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { aborted, invalidArgument, RpcError, Code } from "@mistral-sae/rpc";
import { BLOCK_POSITIONS } from "../blocks/block-layout.ts";
import type { IngestLedger, ShardPosition } from "../catalogue/ingest-ledger.ts";
import type { IndexRecord } from "../catalogue/records.ts";
import type { BlockSummary } from "../indexing/store-block.ts";
import { BlockAssembly, type PlacedWindow } from "./block-assembly.ts";
import { ChunkReader, type Chunk, type ChunkRules, type ChunkWindow } from "./chunk.ts";
import type { IngestMemory } from "./ingest-memory.ts";
import { storeIngested, type StoreIngestedParts } from "./store-ingested.ts";
import { loadTail, storeTail } from "./tails.ts";

/** What taking codes works with. */
export interface ShardParts extends StoreIngestedParts {
  readonly clickhouse: ClickHouse;
  readonly ledger: IngestLedger;
  readonly memory: IngestMemory;
  /** Rejects while the tables may take no more. */
  readonly requireRoom: () => Promise<void>;
}

// One is sorted and stored while the next one fills, and one waits in between.
const BLOCKS_UNDER_WAY = 2;

/**
 * One shard of an index while a stream brings its chunks. Windows fill blocks in the order in which they come, and a block
 * is stored and then noted in the ledger, in order; what does not fill a block is stored apart when the stream ends. The
 * ledger is what is acknowledged: whatever happens, the shard goes on from there, with the same blocks under the same numbers.
 */
export class ShardStream {
  readonly #parts: ShardParts;
  readonly #index: IndexRecord;
  readonly #shard: number;
  readonly #reader: ChunkReader;
  readonly #signal: AbortSignal;
  readonly #underWay: Promise<void>[] = [];
  /** Where the last window that was taken leaves the shard. */
  #position: ShardPosition;
  #filled: number;
  /** Windows of the assembly that are stored as the shard's tail. */
  #tailWindows: number;
  #assembly: BlockAssembly | undefined;
  #failure: unknown;

  constructor(parts: ShardParts, index: IndexRecord, shard: number, rules: ChunkRules, signal: AbortSignal) {
    this.#parts = parts;
    this.#index = index;
    this.#shard = shard;
    this.#signal = signal;
    this.#reader = new ChunkReader(rules);
    const { filled, tailWindows, ...position } = parts.ledger.shard(index.indexId, shard);
    this.#position = position;
    this.#filled = filled;
    this.#tailWindows = tailWindows;
  }

  /** Takes a chunk, or passes it over when it is committed. @throws INVALID_ARGUMENT, FAILED_PRECONDITION SEQ_GAP. */
  async take(request: IngestActivationsRequest): Promise<void> {
    const { nextSeq, skipWindows } = this.#position;
    const seq = Number(request.seq);
    if (seq < nextSeq) return;
    if (seq > nextSeq) {
      const metadata = { shard: String(this.#shard), seq: String(request.seq), wanted_seq: String(nextSeq) };
      throw new RpcError(Code.FailedPrecondition, `seq: got ${request.seq}, wanted ${nextSeq}, the next of shard ${this.#shard}; send every chunk from there on`, { reason: "SEQ_GAP", metadata });
    }
    const chunk = this.#reader.read(request);
    if (chunk.windows.length <= skipWindows) throw invalidArgument("sequences", `got ${chunk.windows.length}, and ${skipWindows} of chunk ${seq} are stored already: it is another chunk than was sent before under this seq`);
    await this.#add(chunk, skipWindows);
  }

  /** Stores what does not fill a block, and returns when all that was taken is acknowledged by the ledger. */
  async end(): Promise<void> {
    await this.#settle(0);
    const assembly = this.#assembly;
    if (assembly === undefined) return;
    const { clickhouse, ledger } = this.#parts;
    const { indexId } = this.#index;
    if (assembly.nWindows > this.#tailWindows) {
      await storeTail(clickhouse, { indexId, shard: this.#shard, filled: this.#filled }, assembly, this.#tailWindows, this.#signal);
      ledger.noteTail(indexId, this.#shard, this.#position, assembly.nWindows);
    }
  }

  /** Waits for the blocks under way, however they end, and gives the memory back. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    this.#assembly?.release();
    this.#assembly = undefined;
  }

  async #add({ windows, code }: Chunk, skip: number): Promise<void> {
    let row = windows.slice(0, skip).reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    for (let at = skip; at < windows.length; ) {
      const assembly = await this.#current();
      const part = windows.slice(at, at + assembly.capacity - assembly.nWindows);
      assembly.add(part.map((window) => this.#place(window)), code, row);
      row += part.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
      at += part.length;
      const { nextSeq } = this.#position;
      this.#position = { ...this.#position, ...(at === windows.length ? { nextSeq: nextSeq + 1, skipWindows: 0 } : { skipWindows: at }) };
      if (assembly.isFull) await this.#store(assembly);
    }
  }

  /** Where a window's first token stands in its document. */
  #place(window: ChunkWindow): PlacedWindow {
    const before = this.#position;
    const tokenStart = window.docId === before.docId ? before.docTokens : 0;
    this.#position = { ...before, docId: window.docId, docTokens: tokenStart + window.tokenIds.length - window.special.length };
    return { ...window, tokenStart };
  }

  /** The block that is being filled; a new one begins with the shard's tail. */
  async #current(): Promise<BlockAssembly> {
    if (this.#assembly !== undefined) return this.#assembly;
    const { clickhouse, memory, requireRoom } = this.#parts;
    const { indexId, sae, corpus, ingestL0 } = this.#index;
    await requireRoom();
    const assembly = new BlockAssembly(corpus.contextSize, sae.dSae, memory, await memory.take(BLOCK_POSITIONS * ingestL0, this.#signal));
    this.#assembly = assembly;
    await loadTail(clickhouse, { indexId, shard: this.#shard, filled: this.#filled }, 0, this.#tailWindows, sae.dSae, assembly, this.#signal);
    return assembly;
  }

  /** Begins to store a full block; returns when few enough are under way. */
  async #store(assembly: BlockAssembly): Promise<void> {
    const { ledger } = this.#parts;
    const { indexId } = this.#index;
    const block = ledger.allocate(indexId, this.#shard, this.#filled);
    const position = this.#position;
    this.#filled += 1;
    this.#tailWindows = 0;
    this.#assembly = undefined;
    const before = this.#underWay.at(-1);
    const work = async (): Promise<void> => {
      let summary: BlockSummary;
      const nWindows = assembly.nWindows;
      try {
        summary = await storeIngested(this.#parts, this.#index, block, assembly, this.#signal);
      } finally {
        assembly.release();
      }
      await before;
      ledger.noteBlock(indexId, this.#shard, position, nWindows, summary);
    };
    const done = work();
    done.catch((error: unknown) => (this.#failure ??= error));
    this.#underWay.push(done);
    await this.#settle(BLOCKS_UNDER_WAY);
  }

  /** Waits until at most so many blocks are under way; rejects when one has failed. */
  async #settle(most: number): Promise<void> {
    while (this.#underWay.length > most) {
      await this.#underWay[0];
      void this.#underWay.shift();
    }
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#signal.aborted) throw aborted("STREAM_CUT", `the stream of shard ${this.#shard} was cut off`);
  }
}
