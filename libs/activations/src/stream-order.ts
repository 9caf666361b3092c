import { InputError } from "@mistral-sae/tensor";
import { Random } from "./random.ts";
import { RowOrder, type Group, type OrderPlan } from "./row-order.ts";

/** What decides the order of rows that are read while they are harvested, beside the shards themselves. */
export interface StreamPlan extends Pick<OrderPlan, "bufferRows" | "seed"> {
  /** Whether epochs after the first come in the order of the harvest too, because the shards are not kept. */
  readonly inOrder: boolean;
}

/**
 * The stream of rows of a run that trains while its shards are harvested. {@link add} tells it of the shards, in
 * their order, {@link end} that there are no more.
 *
 * Quality: the first epoch takes shards in the order of the harvest, which is that of the corpus, in groups of
 * half the buffer (the other half loads the next group). A group is closed by the shard after which another of
 * the first shard's rows would not fit it, so that it never waits for a shard that it does not take; documents
 * that are longer than others make it a little larger. Each group is one uniform permutation of its rows: rows
 * mix with those of some thousand documents around them, not with the whole corpus. A corpus that is sorted by
 * topic needs a buffer of several topics, or an order of its own. Later epochs are those of {@link RowOrder},
 * or, `inOrder`, the groups of the first, each permuted anew.
 *
 * The order is a function of the plan and the shards' rows, whatever the time at which shards come.
 */
export class StreamOrder {
  readonly plan: StreamPlan;
  readonly #shardRows: number[] = [];
  readonly #groups: Group[] = [];
  /** Shards of the group that is not closed yet. */
  #open: number[] = [];
  #openRows = 0;
  #rows = 0;
  #ended = false;
  #later: RowOrder | undefined;

  constructor(plan: StreamPlan) {
    this.plan = plan;
  }

  /** Shards told of. */
  get shards(): number {
    return this.#shardRows.length;
  }

  /** First shard of the group that is not closed yet. */
  get firstOpenShard(): number {
    return this.#shardRows.length - this.#open.length;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** @throws InputError when the shard alone does not fit half the buffer. */
  add(rows: number): void {
    const room = Math.floor(this.plan.bufferRows / 2);
    if (rows > room) throw new InputError(`a buffer of ${this.plan.bufferRows} rows is too small for shards of ${rows}`, { field: "buffer_tokens", got: String(this.plan.bufferRows), wanted: `at least ${rows * 2}` });
    this.#open.push(this.#shardRows.length);
    this.#shardRows.push(rows);
    this.#openRows += rows;
    this.#rows += rows;
    if (this.#openRows + (this.#shardRows[0] ?? 0) > room) this.#close();
  }

  /** @throws InputError when there were no rows. */
  end(): void {
    if (this.#open.length > 0) this.#close();
    this.#ended = true;
    if (this.#rows === 0) throw new InputError("there are no activation rows to read", { field: "activations", got: "0 rows", wanted: "at least 1" });
    if (!this.plan.inOrder) this.#later = new RowOrder({ ...this.plan, shardRows: this.#shardRows, shuffle: true });
  }

  /** The group that holds a row of the stream. @returns Undefined until all of its shards are told of. */
  groupAt(streamRow: number): Group | undefined {
    const last = this.#groups.at(-1);
    if (last !== undefined && streamRow < last.start + last.rows) return this.#groups.findLast((group) => group.start <= streamRow);
    if (!this.#ended) return undefined;
    if (this.#later !== undefined) return this.#later.groupAt(streamRow);
    const epoch = Math.floor(streamRow / this.#rows);
    const start = epoch * this.#rows;
    const first = this.#groups.findLast((group) => group.start <= streamRow - start);
    return first === undefined ? undefined : { ...first, epoch, start: first.start + start };
  }

  /** Order of a group's rows, counted over its shards in the group's order. */
  permutation(group: Group): Uint32Array {
    return new Random(`rows/${this.plan.seed}/${group.epoch}/${group.index}`).permutation(group.rows);
  }

  #close(): void {
    this.#groups.push({ epoch: 0, index: this.#groups.length, shards: this.#open, rows: this.#openRows, start: this.#rows - this.#openRows });
    this.#open = [];
    this.#openRows = 0;
  }
}
