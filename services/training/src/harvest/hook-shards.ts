import { ShardSet, type ShardRecord } from "@mistral-sae/activations";
import { failedPrecondition } from "@mistral-sae/rpc";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import { activationSource, type HarvestedHook, type HarvestHook, type HarvestPlan } from "./harvest-plan.ts";
import type { HookRows, ShardBuffer } from "./shard-buffer.ts";

/** A hook's shards in the store, as the one harvest that writes them knows them. */
export class HookShards {
  readonly set: ShardSet;
  /** Of every shard that was ever written, from the first on, whether or not its rows are still there. */
  readonly records: ShardRecord[];
  readonly #stored: Set<number>;

  private constructor(set: ShardSet, records: ShardRecord[], stored: Set<number>) {
    this.set = set;
    this.records = records;
    this.#stored = stored;
  }

  static async open({ store, text, corpus, privateTo }: HarvestPlan, hook: HarvestHook): Promise<HookShards> {
    const set = await ShardSet.open(store, activationSource(text, hook), { corpusUri: corpus.uri }, privateTo);
    const records = [...(await set.records())];
    const stored = new Set<number>();
    for (const record of records) if (await set.isStored(record)) stored.add(record.index);
    return new HookShards(set, records, stored);
  }

  get rowsOfHook(): HookRows {
    const { hookName, width, dtype } = this.set.source;
    return { hookName, rowBytes: width * DTYPE_BYTES[dtype] };
  }

  /** Bytes of the shards whose rows are there. */
  get storedBytes(): number {
    let bytes = 0;
    for (const index of this.#stored) bytes += this.set.shardBytes(this.records[index]?.rows ?? 0);
    return bytes;
  }

  get stored(): Iterable<number> {
    return this.#stored;
  }

  /** First shard whose rows are not there. */
  get firstLacked(): number {
    let index = 0;
    while (this.#stored.has(index)) index += 1;
    return index;
  }

  has(index: number): boolean {
    return this.#stored.has(index);
  }

  /** Whether nothing lacks up to the rows wanted, or to the end of the corpus. */
  async isComplete(rowsWanted: number): Promise<boolean> {
    const { shards, rows } = this.upTo(rowsWanted);
    if (!shards.every(({ index }) => this.has(index))) return false;
    return rows >= rowsWanted || (await this.set.end())?.shards === this.records.length;
  }

  /** Commits the shard's rows of this hook. @throws RpcError FAILED_PRECONDITION when a shard that is harvested again has other rows. */
  async write(shard: ShardBuffer, places: ReturnType<ShardBuffer["places"]>): Promise<void> {
    const { index, rows, documentStart, documentEnd, rowStart } = shard;
    const before = this.records[index];
    if (before !== undefined && (before.rows !== rows || before.documentEnd !== documentEnd)) {
      throw failedPrecondition("HARVEST_CHANGED", `shard ${index} at ${this.set.source.hookName} has ${rows} rows where it had ${before.rows}: the corpus or the model's tokenizer has changed, delete activationSets/${this.set.folder}`);
    }
    const bytes = shard.bytesOf(this.set.source.hookName);
    this.records[index] = await this.set.write({ index, rows, documentStart, documentEnd, rowStart }, bytes, places);
    this.#stored.add(index);
  }

  async drop(index: number): Promise<void> {
    this.#stored.delete(index);
    await this.set.drop(index);
  }

  /** The shortest run of whole shards from the first with the rows wanted. */
  upTo(rowsWanted: number): HarvestedHook {
    const { hookName, width } = this.set.source;
    let rows = 0;
    const shards: ShardRecord[] = [];
    for (const record of this.records) {
      if (rows >= rowsWanted) break;
      shards.push(record);
      rows += record.rows;
    }
    return { hookName, width, shards, rows, folder: this.set.folder };
  }
}
