import { parentPort, workerData } from "node:worker_threads";
import { RingProducer } from "./batch-ring.ts";
import { RowGatherer } from "./gather.ts";
import { loadRows } from "./load-rows.ts";
import type { LoaderTask } from "./loader-task.ts";
import { RowOrder, type Group } from "./row-order.ts";
import { packError } from "./thread-error.ts";

/** Fills the ring with batches until it is told to stop. Only one group's rows and the next one's are held. */
async function produce(task: LoaderTask, ring: RingProducer): Promise<void> {
  const order = new RowOrder(task.plan);
  const loaded = new Map<number, Promise<Uint8Array>>();
  const verified = new Set<number>();
  const load = (group: Group): void => {
    for (const shard of group.shards) if (!loaded.has(shard)) loaded.set(shard, shardRows(task, shard, verified));
  };
  let row = task.startRow;
  let group = order.groupAt(row);
  load(group);
  let rows = await gathererOf(group, task, loaded);
  let permutation = order.permutation(group);
  load(order.after(group));
  for (let slot = await ring.acquire(); slot !== undefined; slot = await ring.acquire()) {
    const bits = new Uint32Array(slot.buffer, slot.byteOffset, slot.length);
    for (let at = 0; at < task.batchRows; at += 1, row += 1) {
      if (row === group.start + group.rows) {
        const next = order.after(group);
        const kept = new Set(next.shards);
        for (const shard of group.shards) if (!kept.has(shard)) loaded.delete(shard);
        group = next;
        rows = await gathererOf(group, task, loaded);
        permutation = order.permutation(group);
        load(order.after(group));
      }
      const local = row - group.start;
      rows.copyRow(permutation?.[local] ?? local, slot, bits, at);
    }
    ring.publish();
  }
}

async function shardRows(task: LoaderTask, shard: number, verified: Set<number>): Promise<Uint8Array> {
  const file = task.files[shard];
  if (file === undefined) throw new RangeError(`shard ${shard} of ${task.files.length}`);
  const bytes = await loadRows(file, !verified.has(shard));
  verified.add(shard);
  return bytes;
}

async function gathererOf(group: Group, task: LoaderTask, loaded: ReadonlyMap<number, Promise<Uint8Array>>): Promise<RowGatherer> {
  const shards: Uint8Array[] = [];
  for (const shard of group.shards) shards.push(await (loaded.get(shard) ?? Promise.reject(new Error(`shard ${shard} was not asked for`))));
  return new RowGatherer(shards, task.width, task.dtype);
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
