import type { DatabaseSync } from "node:sqlite";
import type { BlockSummary } from "../indexing/store-block.ts";

type Row = Record<string, number>;

/** Up to where a shard's codes are stored. */
export interface ShardPosition {
  /** Chunk to go on with; all before it are stored. */
  readonly nextSeq: number;
  /** Windows of that chunk that are stored already: a block ended within it. */
  readonly skipWindows: number;
  /** Document of the last stored window, -1 before the first, and its tokens so far, special ones left out. */
  readonly docId: number;
  readonly docTokens: number;
}

/** What is acknowledged of a shard. */
export interface ShardRecord extends ShardPosition {
  readonly shard: number;
  /** Blocks that it filled. */
  readonly filled: number;
  /** Windows after them, which wait in `ingest_tails`. */
  readonly tailWindows: number;
}

/** A block's number, and what it held once it is stored. */
export interface IngestedBlock extends BlockSummary {
  readonly shard: number;
  readonly stored: boolean;
  readonly nSequences: number;
}

/** What is acknowledged of codes made elsewhere, in the catalogue's file. Every call is one durable transaction. */
export class IngestLedger {
  readonly #db: DatabaseSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
  }

  /** By number. */
  shards(indexId: number): ShardRecord[] {
    return (this.#db.prepare("SELECT * FROM ingest_shards WHERE index_id = ? ORDER BY shard").all(indexId) as Row[]).map(shardOf);
  }

  /** A shard that nothing came of starts at its first chunk. */
  shard(indexId: number, shard: number): ShardRecord {
    const row = this.#db.prepare("SELECT * FROM ingest_shards WHERE index_id = ? AND shard = ?").get(indexId, shard);
    return row === undefined ? { shard, nextSeq: 0, skipWindows: 0, docId: -1, docTokens: 0, filled: 0, tailWindows: 0 } : shardOf(row as Row);
  }

  /** By number. */
  blocks(indexId: number): IngestedBlock[] {
    return (this.#db.prepare("SELECT * FROM ingest_blocks WHERE index_id = ? ORDER BY block").all(indexId) as Row[]).map(blockOf);
  }

  /** The number of a shard's block: the next free one, or the one that an earlier attempt was given. */
  allocate(indexId: number, shard: number, ordinal: number): number {
    const given = this.#db.prepare("SELECT block FROM ingest_blocks WHERE index_id = ? AND shard = ? AND ordinal = ?");
    return this.#transaction(() => {
      const before = given.get(indexId, shard, ordinal) as Row | undefined;
      if (before !== undefined) return before["block"] as number;
      this.#db.prepare("INSERT INTO ingest_blocks (index_id, block, shard, ordinal) SELECT ?, count(*), ?, ? FROM ingest_blocks WHERE index_id = ?").run(indexId, shard, ordinal, indexId);
      return (given.get(indexId, shard, ordinal) as Row)["block"] as number;
    });
  }

  /** Notes that a shard's next block is stored, and with it everything up to `position`. */
  noteBlock(indexId: number, shard: number, position: ShardPosition, nSequences: number, summary: BlockSummary): void {
    this.#transaction(() => {
      this.#db
        .prepare("UPDATE ingest_blocks SET stored = 1, n_sequences = ?, n_tokens = ?, n_special_tokens = ?, n_activations = ?, n_special_activations = ? WHERE index_id = ? AND block = ?")
        .run(nSequences, summary.nTokens, summary.nSpecialTokens, summary.nActivations, summary.nSpecialActivations, indexId, summary.block);
      this.#setShard(indexId, { ...position, shard, filled: this.shard(indexId, shard).filled + 1, tailWindows: 0 });
      this.#db.prepare("UPDATE indexes SET n_sequences = n_sequences + ?, n_tokens = n_tokens + ?, n_activations = n_activations + ? WHERE index_id = ?").run(nSequences, summary.nTokens, summary.nActivations, indexId);
    });
  }

  /** Notes that the windows after a shard's last block wait in `ingest_tails`, up to `position`. */
  noteTail(indexId: number, shard: number, position: ShardPosition, tailWindows: number): void {
    this.#setShard(indexId, { ...position, shard, filled: this.shard(indexId, shard).filled, tailWindows });
  }

  #setShard(indexId: number, { shard, nextSeq, skipWindows, filled, tailWindows, docId, docTokens }: ShardRecord): void {
    this.#db
      .prepare("INSERT OR REPLACE INTO ingest_shards (index_id, shard, next_seq, skip_windows, filled, tail_windows, doc_id, doc_tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
      .run(indexId, shard, nextSeq, skipWindows, filled, tailWindows, docId, docTokens);
  }

  #transaction<T>(work: () => T): T {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#db.exec("COMMIT");
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }
}

function shardOf(row: Row): ShardRecord {
  const number = (name: string) => Number(row[name]);
  return {
    shard: number("shard"),
    nextSeq: number("next_seq"),
    skipWindows: number("skip_windows"),
    docId: number("doc_id"),
    docTokens: number("doc_tokens"),
    filled: number("filled"),
    tailWindows: number("tail_windows"),
  };
}

function blockOf(row: Row): IngestedBlock {
  const number = (name: string) => Number(row[name]);
  return {
    block: number("block"),
    shard: number("shard"),
    stored: row["stored"] === 1,
    nSequences: number("n_sequences"),
    nTokens: number("n_tokens"),
    nSpecialTokens: number("n_special_tokens"),
    nActivations: number("n_activations"),
    nSpecialActivations: number("n_special_activations"),
  };
}
