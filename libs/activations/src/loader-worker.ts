import { parentPort, workerData } from "node:worker_threads";
import { RingProducer } from "./batch-ring.ts";
import { RowGatherer } from "./gather.ts";
import { loadRows } from "./load-rows.ts";
import type { LoaderTask } from "./loader-task.ts";
import { openGroups, type RowGroups } from "./row-groups.ts";
import type { Group } from "./row-order.ts";
import { columnWidths } from "./row-source.ts";
import { packError } from "./thread-error.ts";

/** A group with its rows in memory, part by part. */
interface LoadedGroup {
  readonly group: Group;
  readonly parts: readonly RowGatherer[];
  readonly permutation: Uint32Array | undefined;
}

/** Loads groups. Only one group's rows and the next one's are held; shards that both have are read once. */
class GroupLoader {
  readonly #groups: RowGroups;
  /** Stored files do not change: a second epoch reads them unchecked. Streamed ones may have been harvested again. */
  readonly #verifyAgain: boolean;
  readonly #verified = new Set<number>();
  #held = new Map<number, Promise<readonly Uint8Array[]>>();

  constructor(groups: RowGroups, verifyAgain: boolean) {
    this.#groups = groups;
    this.#verifyAgain = verifyAgain;
  }

  async first(row: number): Promise<LoadedGroup> {
    return await this.#load(await this.#groups.groupAt(row));
  }

  /** The group after another. @returns Undefined when the stream ends with it. */
  next({ group }: LoadedGroup): Promise<LoadedGroup> | undefined {
    const next = this.#groups.after(group)?.then((known) => this.#load(known));
    next?.catch(() => undefined);
    return next;
  }

  async #load(group: Group): Promise<LoadedGroup> {
    const before = this.#held;
    this.#held = new Map(group.shards.map((shard) => [shard, before.get(shard) ?? this.#read(shard)]));
    for (const read of this.#held.values()) read.catch(() => undefined);
    const shards: (readonly Uint8Array[])[] = [];
    for (const read of this.#held.values()) shards.push(await read);
    const files = this.#groups.filesOf(group.shards[0] ?? 0);
    const parts = files.map(({ width, dtype }, part) => new RowGatherer(shards.map((bytes) => bytes[part] ?? new Uint8Array(0)), width, dtype));
    return { group, parts, permutation: this.#groups.permutation(group) };
  }

  async #read(shard: number): Promise<readonly Uint8Array[]> {
    const parts: Uint8Array[] = [];
    for (const file of this.#groups.filesOf(shard)) parts.push(await loadRows(file, this.#verifyAgain || !this.#verified.has(shard)));
    this.#verified.add(shard);
    return parts;
  }
}

/** Fills the ring with batches until it is told to stop. */
async function produce(task: LoaderTask, ring: RingProducer): Promise<void> {
  const loader = new GroupLoader(openGroups(task.source, task.order), task.source.kind === "streamed");
  const widths = columnWidths(task.source);
  const width = widths.reduce((sum, part) => sum + part, 0);
  let row = task.startRow;
  let current = await loader.first(row);
  let next = loader.next(current);
  for (let slot = await ring.acquire(); slot !== undefined; slot = await ring.acquire()) {
    const bits = new Uint32Array(slot.buffer, slot.byteOffset, slot.length);
    for (let at = 0; at < task.batchRows; at += 1, row += 1) {
      if (row === current.group.start + current.group.rows) {
        // Nobody takes more rows than a stream has.
        if (next === undefined) return;
        current = await next;
        next = loader.next(current);
      }
      const { group, parts, permutation } = current;
      const local = row - group.start;
      const from = permutation?.[local] ?? local;
      let to = at * width;
      for (let part = 0; part < parts.length; part += 1) {
        (parts[part] as RowGatherer).copyRow(from, slot, bits, to);
        to += widths[part] as number;
      }
    }
    ring.publish();
  }
}

const task = workerData as LoaderTask;
const ring = new RingProducer(task.ring);
// Atomics.waitAsync alone does not keep a thread alive.
parentPort?.on("message", () => undefined);
try {
  await produce(task, ring);
} catch (error) {
  task.failures.postMessage(packError(error));
  ring.fail();
}
parentPort?.close();
