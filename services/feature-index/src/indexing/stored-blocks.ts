import type { ClickHouse } from "@mistral-sae/clickhouse";
import { BlockLayout } from "../blocks/block-layout.ts";
import { T } from "../store/tables.ts";

/**
 * Which blocks the tables hold from attempts whose end nobody knows. A deduplication token makes a prompt retry harmless,
 * but ClickHouse keeps only the last of them; a retry that comes later is told here what is there already.
 */
export class StoredBlocks {
  readonly #clickhouse: ClickHouse;
  readonly #known = new Map<number, Promise<ReadonlyMap<string, ReadonlySet<number>>>>();

  constructor(clickhouse: ClickHouse) {
    this.#clickhouse = clickhouse;
  }

  /** Tables that held this block when the index was first asked for, or since it was forgotten. */
  async tablesWith(indexId: number, contextSize: number, block: number): Promise<string[]> {
    let known = this.#known.get(indexId);
    if (known === undefined) {
      known = this.#read(indexId, contextSize);
      this.#known.set(indexId, known);
      known.catch(() => this.forget(indexId));
    }
    return [...(await known)].filter(([, blocks]) => blocks.has(block)).map(([table]) => table);
  }

  /** Asks the tables anew the next time: an insert failed, or other work on the index begins or has ended. */
  forget(indexId: number): void {
    this.#known.delete(indexId);
  }

  async #read(indexId: number, contextSize: number): Promise<ReadonlyMap<string, ReadonlySet<number>>> {
    const { blockSequences } = new BlockLayout(contextSize, 0);
    const blocks = async (table: string, block: string) => {
      const rows = await this.#clickhouse.rows<{ b: number }>(`SELECT DISTINCT ${block} AS b FROM ${table} WHERE index_id = {indexId:UInt32}`, { indexId, blockSequences });
      return [table, new Set(rows.map(({ b }) => b))] as const;
    };
    const bySequence = "intDiv(sequence_id, {blockSequences:UInt32})";
    return new Map(await Promise.all([blocks(T.postings, "block"), blocks(T.sampledCodes, bySequence), blocks(T.stagedNearMisses, bySequence)]));
  }
}
