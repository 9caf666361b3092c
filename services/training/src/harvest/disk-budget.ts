import { StreamOrder, type StreamFlow } from "@mistral-sae/activations";
import { InputError } from "@mistral-sae/tensor";
import type { HookShards } from "./hook-shards.ts";

/** How a harvest goes on beside the training that reads it. */
export interface StreamTask {
  /** Memory of the {@link StreamFlow}. */
  readonly flow: SharedArrayBuffer;
  /** Most bytes of shards at a time; 0 keeps all of them. */
  readonly diskBytes: number;
  /** Rows of the shuffle buffer, which decides the groups that training reads. */
  readonly bufferRows: number;
  /** Rows that training reads, several epochs included. */
  readonly totalRows: number;
}

/**
 * Keeps the stored shards of a harvest within a number of bytes. Shards that training has passed go first, of
 * these the ones that are needed again last; when all that are left are still needed, the harvest waits. Shards
 * are counted over all epochs.
 */
export class DiskBudget {
  readonly #flow: StreamFlow;
  readonly #hooks: readonly HookShards[];
  readonly #bytes: number;
  readonly #signal: AbortSignal;
  /** Cuts shards into the groups that training reads. */
  readonly #order: StreamOrder;
  /** Groups that are closed, and bytes of the first of them, the last of them, and the open one. */
  readonly #groups = { count: 0, first: 0, closed: 0, open: 0 };
  /** Shards before this one are promised to training, from the floor on. */
  #promised = 0;

  constructor(flow: StreamFlow, hooks: readonly HookShards[], { diskBytes, bufferRows }: StreamTask, signal: AbortSignal) {
    this.#flow = flow;
    this.#hooks = hooks;
    this.#bytes = diskBytes;
    this.#signal = signal;
    this.#order = new StreamOrder({ bufferRows, seed: 0n, inOrder: true });
  }

  /** Notes that training will find shard `ordinal` of the stream stored. */
  promise(ordinal: number): void {
    this.#promised = ordinal + 1;
  }

  /** Makes room for a shard of `rows` rows at every hook. @throws InputError when training could never go on with so little. */
  async makeRoom(rows: number): Promise<void> {
    const wanted = this.#hooks.reduce((sum, { set }) => sum + set.shardBytes(rows), 0);
    try {
      while (this.#stored + wanted > this.#bytes) {
        if (await this.#dropOne()) continue;
        const before = this.#flow.floor;
        this.#flow.setWaiting(true);
        await this.#flow.untilFloor(() => this.#flow.floor !== before, this.#signal);
      }
    } finally {
      this.#flow.setWaiting(false);
    }
  }

  /**
   * Takes note of the next shard of the first epoch, and of its end. Training holds one group and loads the next.
   * @throws InputError when two groups that follow each other are more than the budget.
   */
  checkGroups(rows: number | "end"): void {
    const groups = this.#groups;
    if (rows === "end") this.#requireFit(groups.count < 2 ? 0 : (groups.open || groups.closed) + groups.first);
    else {
      this.#order.add(rows);
      groups.open += this.#hooks.reduce((sum, { set }) => sum + set.shardBytes(rows), 0);
      this.#requireFit(groups.closed + groups.open);
      if (this.#order.firstOpenShard < this.#order.shards) return;
      groups.first ||= groups.open;
      groups.count += 1;
      groups.closed = groups.open;
      groups.open = 0;
    }
  }

  #requireFit(needed: number): void {
    if (needed <= this.#bytes) return;
    throw new InputError(`training needs ${needed} bytes of activations at a time, for two groups of half the buffer`, { field: "activation_disk_bytes", got: String(this.#bytes), wanted: `at least ${needed}, or fewer buffer_tokens` });
  }

  get #stored(): number {
    return this.#hooks.reduce((sum, hook) => sum + hook.storedBytes, 0);
  }

  /** Drops the shard that is needed again last, unless every one is promised. */
  async #dropOne(): Promise<boolean> {
    let last = { index: -1, use: this.#promised - 1 };
    for (const hook of this.#hooks) {
      for (const index of hook.stored) {
        const use = this.#nextUse(index);
        if (use > last.use) last = { index, use };
      }
    }
    if (last.index < 0) return false;
    for (const hook of this.#hooks) if (hook.has(last.index)) await hook.drop(last.index);
    return true;
  }

  /** Place in the stream at which a shard is read next. */
  #nextUse(index: number): number {
    const { floor = 0, end } = this.#flow;
    if (index >= floor) return index;
    return end === undefined ? Infinity : index + Math.ceil((floor - index) / end) * end;
  }
}
