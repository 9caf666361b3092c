import type { RowFile } from "./row-file.ts";
import { RowOrder, type Group, type OrderPlan } from "./row-order.ts";
import type { RowSource, StoredRows, StreamedRows } from "./row-source.ts";
import { ShardSet } from "./shard-set.ts";
import { StreamFlow } from "./stream-flow.ts";
import { StreamOrder } from "./stream-order.ts";

/** The groups of a stream of rows and where their shards lie, for who has to load them. */
export interface RowGroups {
  /** The group that holds a row, once it is known and its shards are stored. */
  groupAt(streamRow: number): Promise<Group>;
  /** The group after another. @returns Undefined when the stream ends with it. */
  after(group: Group): Promise<Group> | undefined;
  /** Order of a group's rows; undefined is from first to last. */
  permutation(group: Group): Uint32Array | undefined;
  /** Where a shard of a group lies, part by part. */
  filesOf(shard: number): readonly RowFile[];
}

export function openGroups(source: RowSource, order: Pick<OrderPlan, "bufferRows" | "seed" | "shuffle">): RowGroups {
  return source.kind === "stored" ? new StoredGroups(source, order) : new StreamedGroups(source, order);
}

class StoredGroups implements RowGroups {
  readonly #columns: StoredRows["columns"];
  readonly #order: RowOrder;

  constructor({ columns }: StoredRows, order: Pick<OrderPlan, "bufferRows" | "seed" | "shuffle">) {
    this.#columns = columns;
    this.#order = new RowOrder({ ...order, shardRows: (columns[0] ?? []).map((file) => file.rows) });
  }

  async groupAt(streamRow: number): Promise<Group> {
    return await Promise.resolve(this.#order.groupAt(streamRow));
  }

  after(group: Group): Promise<Group> {
    return Promise.resolve(this.#order.after(group));
  }

  permutation(group: Group): Uint32Array | undefined {
    return this.#order.permutation(group);
  }

  filesOf(shard: number): readonly RowFile[] {
    return this.#columns.flatMap((files) => files[shard] ?? []);
  }
}

/** Groups of shards that are still being harvested. */
export class StreamedGroups implements RowGroups {
  readonly #sets: readonly ShardSet[];
  readonly #flow: StreamFlow;
  readonly #totalRows: number;
  readonly #order: StreamOrder;
  /** Places of the shards that are known, in their order. */
  readonly #files: (readonly RowFile[])[] = [];
  #reading: Promise<void> = Promise.resolve();

  constructor({ sets, flow, inOrder, totalRows }: StreamedRows, order: Pick<OrderPlan, "bufferRows" | "seed">) {
    this.#sets = sets.map(({ address, folder, source }) => new ShardSet(address, folder, source));
    this.#flow = new StreamFlow(flow);
    this.#totalRows = totalRows;
    this.#order = new StreamOrder({ bufferRows: order.bufferRows, seed: order.seed, inOrder });
  }

  async groupAt(streamRow: number): Promise<Group> {
    for (;;) {
      await this.#catchUp();
      const group = this.#order.groupAt(streamRow);
      if (group !== undefined) {
        const wanted = this.#lastShardOf(group);
        await this.#flow.untilAvailable(() => this.#flow.available > wanted);
        return group;
      }
      const known = this.#order.shards;
      await this.#flow.untilAvailable(() => this.#flow.available > known || this.#flow.end !== undefined);
    }
  }

  after(group: Group): Promise<Group> | undefined {
    const next = group.start + group.rows;
    return next < this.#totalRows ? this.groupAt(next) : undefined;
  }

  permutation(group: Group): Uint32Array {
    return this.#order.permutation(group);
  }

  filesOf(shard: number): readonly RowFile[] {
    return this.#files[shard] ?? [];
  }

  /** First shard of the stream that a run which goes on at a row needs. */
  async floorAt(streamRow: number): Promise<number> {
    await this.#catchUp();
    const group = this.#order.groupAt(streamRow);
    if (group === undefined) return this.#order.firstOpenShard;
    if (!this.#order.plan.inOrder && group.epoch > 0) return 0;
    return group.epoch * (this.#flow.end ?? 0) + (group.shards[0] ?? 0);
  }

  #lastShardOf({ epoch, shards }: Group): number {
    // Shards that are kept stay available from the first epoch on.
    if (!this.#order.plan.inOrder || epoch === 0) return Math.max(...shards);
    return epoch * (this.#flow.end ?? 0) + Math.max(...shards);
  }

  /** Reads the records of the shards that came since the last time; one reader at a time. */
  async #catchUp(): Promise<void> {
    this.#reading = this.#reading.then(() => this.#readRecords());
    await this.#reading;
  }

  async #readRecords(): Promise<void> {
    if (this.#order.ended) return;
    // The end first: what is available then is all there is.
    const { end } = this.#flow;
    const available = Math.min(this.#flow.available, end ?? Infinity);
    while (this.#order.shards < available) {
      const index = this.#order.shards;
      const files = await Promise.all(this.#sets.map((set) => set.recordedFile(index)));
      this.#files.push(files);
      this.#order.add(files[0]?.rows ?? 0);
    }
    if (end !== undefined && this.#order.shards === end) this.#order.end();
  }
}
