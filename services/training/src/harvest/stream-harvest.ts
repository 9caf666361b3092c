import { StreamFlow, StreamOrder } from "@mistral-sae/activations";
import { DiskBudget, type StreamTask } from "./disk-budget.ts";
import type { HarvestPass } from "./harvest.ts";

/**
 * Harvests for a training that reads beside it, from the shard on that training needs first. With a disk budget
 * the corpus is read once an epoch, as far as training reads.
 */
export async function streamed(pass: HarvestPass, task: StreamTask, signal: AbortSignal): Promise<void> {
  const flow = new StreamFlow(task.flow);
  await flow.untilFloor(() => flow.floor !== undefined, signal);
  const floor = flow.floor ?? 0;
  const epochs = new Epochs(pass, flow, task, signal);
  flow.announce(floor);
  let end = await pass.end();
  if (end !== undefined) epochs.endsAt(end);
  for (let ordinal = floor; ; ) {
    const epoch = end === undefined ? 0 : Math.floor(ordinal / end);
    const rowsWanted = epochs.rowsWanted(epoch);
    if (rowsWanted <= 0) return;
    await epochs.run(epoch, ordinal - epoch * (end ?? 0), rowsWanted);
    if (end === undefined) {
      end = (await pass.end()) ?? 0;
      epochs.endsAt(end);
    }
    if (task.diskBytes === 0 || end === 0) return;
    ordinal = (epoch + 1) * end;
  }
}

/** The passes of a streamed harvest. */
class Epochs {
  readonly #pass: HarvestPass;
  readonly #flow: StreamFlow;
  readonly #task: StreamTask;
  readonly #budget: DiskBudget | undefined;
  /** Shards of an epoch, once known. */
  #end: number | undefined;
  /** Shards of the first epoch that the budget was checked with. */
  #checked = 0;
  #order: StreamOrder | undefined;

  constructor(pass: HarvestPass, flow: StreamFlow, task: StreamTask, signal: AbortSignal) {
    this.#pass = pass;
    this.#flow = flow;
    this.#task = task;
    this.#budget = task.diskBytes === 0 ? undefined : new DiskBudget(flow, pass.hooks, task, signal);
    this.#check(Infinity);
  }

  endsAt(shards: number): void {
    this.#end = shards;
    this.#check(shards);
    this.#budget?.checkGroups("end");
    const order = new StreamOrder({ bufferRows: this.#task.bufferRows, seed: 0n, inOrder: true });
    for (const { rows } of this.#records.slice(0, shards)) order.add(rows);
    if (order.shards > 0) order.end();
    this.#order = order;
    this.#flow.announceEnd(shards);
  }

  /** Rows of an epoch that training reads, its last group whole; not positive when it does not come to it. */
  rowsWanted(epoch: number): number {
    const { totalRows } = this.#task;
    if (this.#end === undefined || this.#order === undefined) return totalRows;
    const rows = this.#records.slice(0, this.#end).reduce((sum, record) => sum + record.rows, 0);
    if (totalRows > (epoch + 1) * rows) return rows;
    if (totalRows <= epoch * rows) return 0;
    const last = this.#order.groupAt(totalRows - 1 - epoch * rows);
    return last === undefined ? rows : last.start + last.rows;
  }

  async run(epoch: number, first: number, rowsWanted: number): Promise<void> {
    const start = epoch * (this.#end ?? 0);
    await this.#pass.run(first, rowsWanted, {
      dealt: (index) => this.#budget?.promise(start + index),
      writing: async (shard) => {
        if (epoch === 0) this.#check(shard.index, shard.rows);
        await this.#budget?.makeRoom(shard.rows);
      },
      stored: (index) => this.#flow.announce(start + index + 1),
    });
  }

  get #records(): HarvestPass["hooks"][number]["records"] {
    return this.#pass.hooks[0]?.records ?? [];
  }

  /** Checks the budget with the shards before `end` that are recorded, and one more. */
  #check(end: number, rows?: number): void {
    for (const record of this.#records.slice(this.#checked, end)) {
      this.#budget?.checkGroups(record.rows);
      this.#checked += 1;
    }
    if (rows === undefined || this.#checked !== end) return;
    this.#budget?.checkGroups(rows);
    this.#checked += 1;
  }
}
