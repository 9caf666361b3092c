import { InputError } from "@mistral-sae/tensor";
import { Random } from "./random.ts";

/** What decides the order of rows. Equal plans give equal orders on every machine. */
export interface OrderPlan {
  /** Rows of each shard. */
  readonly shardRows: readonly number[];
  /** Rows that may be in memory at a time. */
  readonly bufferRows: number;
  readonly seed: bigint;
  /** False reads the shards from first to last, again and again. */
  readonly shuffle: boolean;
}

/** Shards whose rows are mixed with each other. */
export interface Group {
  readonly epoch: number;
  /** Ordinal within the epoch. */
  readonly index: number;
  readonly shards: readonly number[];
  readonly rows: number;
  /** Place of its first row in the stream of all epochs. */
  readonly start: number;
}

/**
 * The endless stream of rows of a training run: epoch after epoch over all shards, each row once an epoch.
 *
 * Quality: when every row fits the buffer, each epoch is one uniform permutation of all rows. Otherwise the
 * shards are dealt in a fresh random order every epoch into groups of at most half the buffer (the other half
 * loads the next group), and each group is one uniform permutation of its rows: rows mix across the shards of
 * a group, not beyond it within that epoch.
 *
 * The order is a pure function of the plan: its only state is the number of rows served, so a resumed run
 * reads on bit by bit where it stopped.
 */
export class RowOrder {
  readonly plan: OrderPlan;
  readonly rowsPerEpoch: number;
  #epoch = -1;
  #groups: readonly Group[] = [];

  /** @throws InputError when there is no row, or a shard does not fit half the buffer and not all rows fit it. */
  constructor(plan: OrderPlan) {
    this.plan = plan;
    this.rowsPerEpoch = plan.shardRows.reduce((sum, rows) => sum + rows, 0);
    const largest = plan.shardRows.reduce((most, rows) => Math.max(most, rows), 0);
    if (this.rowsPerEpoch === 0) throw new InputError("there are no activation rows to read", { field: "activations", got: "0 rows", wanted: "at least 1" });
    if (!this.#fits && largest > this.#groupRows) {
      throw new InputError(`a buffer of ${plan.bufferRows} rows is too small for shards of ${largest}`, { field: "buffer_tokens", got: String(plan.bufferRows), wanted: `at least ${largest * 2}` });
    }
  }

  /** The group that holds a row of the stream. */
  groupAt(streamRow: number): Group {
    const epoch = Math.floor(streamRow / this.rowsPerEpoch);
    const groups = this.#groupsOf(epoch);
    const found = groups.findLast((group) => group.start <= streamRow);
    if (found === undefined) throw new RangeError(`row ${streamRow} is before the stream`);
    return found;
  }

  after(group: Group): Group {
    return this.groupAt(group.start + group.rows);
  }

  /** Order of a group's rows, counted over its shards in the group's order; undefined is from first to last. */
  permutation(group: Group): Uint32Array | undefined {
    if (!this.plan.shuffle) return undefined;
    return new Random(`rows/${this.plan.seed}/${group.epoch}/${group.index}`).permutation(group.rows);
  }

  get #fits(): boolean {
    return this.rowsPerEpoch <= this.plan.bufferRows;
  }

  get #groupRows(): number {
    return Math.floor(this.plan.bufferRows / 2);
  }

  #groupsOf(epoch: number): readonly Group[] {
    if (epoch !== this.#epoch) {
      this.#groups = this.#deal(epoch);
      this.#epoch = epoch;
    }
    return this.#groups;
  }

  #deal(epoch: number): Group[] {
    const groups: Group[] = [];
    let shards: number[] = [];
    let rows = 0;
    let start = epoch * this.rowsPerEpoch;
    const close = (): void => {
      groups.push({ epoch, index: groups.length, shards, rows, start });
      start += rows;
      shards = [];
      rows = 0;
    };
    const room = this.#fits ? this.rowsPerEpoch : this.#groupRows;
    for (const shard of this.#shardOrder(epoch)) {
      const more = this.plan.shardRows[shard] ?? 0;
      if (rows + more > room) close();
      shards.push(shard);
      rows += more;
    }
    close();
    return groups;
  }

  #shardOrder(epoch: number): Iterable<number> {
    const { shardRows, seed, shuffle } = this.plan;
    if (!shuffle || this.#fits) return shardRows.keys();
    return new Random(`shards/${seed}/${epoch}`).permutation(shardRows.length);
  }
}
