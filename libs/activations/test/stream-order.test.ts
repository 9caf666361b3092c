import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BatchStream, damagedShard, ShardSet, StreamFlow, StreamOrder, type ActivationSource, type StreamedRows } from "../src/index.ts";

const width = 4;
const shardRows = [50, 45, 55, 48, 52];
const allRows = 250;
const source: ActivationSource = { modelDigest: "m", hookName: "blocks.2.hook_resid_pre", corpus: "c", contextSize: 128, dtype: "F32", width, shardTokens: 50, documents: "trained-on" };
let root: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "streams-"));
});
afterAll(async () => {
  await rm(root, { recursive: true });
});

describe("StreamOrder", () => {
  const told = (inOrder: boolean): StreamOrder => {
    const order = new StreamOrder({ bufferRows: 220, seed: 3n, inOrder });
    for (const rows of shardRows) order.add(rows);
    order.end();
    return order;
  };

  it("closes a group as soon as another shard would not fit half the buffer", () => {
    const order = new StreamOrder({ bufferRows: 220, seed: 3n, inOrder: false });
    order.add(50);
    expect(order.groupAt(0)).toBeUndefined();
    order.add(45);
    expect(order.groupAt(0)).toMatchObject({ shards: [0, 1], rows: 95, start: 0 });
    expect(order.groupAt(95)).toBeUndefined();
    order.add(55);
    expect(order.firstOpenShard).toBe(2);
    order.end();
    expect(order.groupAt(95)).toMatchObject({ shards: [2], rows: 55, start: 95 });
  });

  it.each([true, false])("serves every row once an epoch, epochs in order: %s", (inOrder) => {
    const order = told(inOrder);
    for (const epoch of [0, 1, 2]) {
      const rows = new Set<string>();
      for (let at = epoch * allRows; at < (epoch + 1) * allRows; at += 1) {
        const group = order.groupAt(at);
        expect(group?.epoch).toBe(epoch);
        rows.add(`${group?.index}:${group === undefined ? "" : order.permutation(group)[at - group.start]}`);
      }
      expect(rows.size).toBe(allRows);
    }
  });

  it("orders a group anew in each epoch", () => {
    const order = told(true);
    const permutations = [0, allRows].map((row) => order.permutation(order.groupAt(row) ?? { epoch: 0, index: 0, shards: [], rows: 1, start: 0 }));
    expect(permutations[0]).not.toEqual(permutations[1]);
  });

  it("refuses a shard that does not fit half the buffer, and no rows at all", () => {
    expect(() => new StreamOrder({ bufferRows: 60, seed: 0n, inOrder: true }).add(50)).toThrow("got 60, wanted at least 100");
    expect(() => new StreamOrder({ bufferRows: 60, seed: 0n, inOrder: true }).end()).toThrow("no activation rows");
  });
});

/** A set whose shards appear when asked, row r of the set holding r. */
async function streamed(name: string, inOrder: boolean, totalRows: number): Promise<{ readonly set: ShardSet; readonly flow: StreamFlow; readonly rows: StreamedRows; readonly write: (index: number) => Promise<void> }> {
  const set = await ShardSet.open({ kind: "fs", root }, { ...source, corpus: name });
  const flow = new StreamFlow();
  const write = async (index: number): Promise<void> => {
    const rowStart = shardRows.slice(0, index).reduce((sum, rows) => sum + rows, 0);
    const rows = shardRows[index] ?? 0;
    const values = Float32Array.from({ length: rows * width }, (_, at) => rowStart + Math.floor(at / width));
    await set.write({ index, rows, rowStart, documentStart: index, documentEnd: index + 1 }, new Uint8Array(values.buffer), { documents: new Uint32Array(rows), positions: new Uint32Array(rows) });
  };
  return { set, flow, rows: { kind: "streamed", sets: [{ address: set.address, folder: set.folder, source: set.source }], flow: flow.memory, inOrder, totalRows }, write };
}

async function take(stream: BatchStream, batches: number): Promise<number[]> {
  const rows: number[] = [];
  for (let batch = 0; batch < batches; batch += 1) {
    const values = await stream.takeAsync();
    for (let at = 0; at < values.length; at += width) rows.push(values[at] ?? -1);
  }
  return rows;
}

describe("a stream of rows that are still harvested", () => {
  it.each([true, false])("has the same order whatever the time at which shards come, and from any row, epochs in order: %s", async (inOrder) => {
    const options = { batchRows: 10, bufferRows: 220, seed: 5n };
    const early = await streamed("early", inOrder, 600);
    for (const index of shardRows.keys()) await early.write(index);
    early.flow.announce(inOrder ? 100 : 5);
    early.flow.announceEnd(5);
    await using first = new BatchStream(early.rows, options);
    const wanted = await take(first, 60);
    expect(new Set(wanted.slice(0, allRows)).size).toBe(allRows);
    // The first group is the first two shards.
    expect(Math.max(...wanted.slice(0, 95))).toBe(94);

    const late = await streamed("late", inOrder, 600);
    const harvest = (async () => {
      for (const index of shardRows.keys()) {
        await sleep(20);
        await late.write(index);
        late.flow.announce(index + 1);
      }
      late.flow.announceEnd(5);
      if (inOrder) late.flow.announce(100);
    })();
    await using second = new BatchStream(late.rows, options);
    expect(await take(second, 60)).toEqual(wanted);
    expect(second.waitedMs).toBeGreaterThan(0);
    await harvest;

    await using resumed = new BatchStream(late.rows, { ...options, startRow: 310 });
    expect(await take(resumed, 29)).toEqual(wanted.slice(310));
    expect(await resumed.floorAt(100)).toBe(2);
    expect(await resumed.floorAt(310)).toBe(inOrder ? 5 : 0);
  });

  it("is left when the signal aborts while it waits for a shard", async () => {
    const { rows } = await streamed("never", true, 100);
    await using stream = new BatchStream(rows, { batchRows: 10, bufferRows: 220, seed: 5n });
    const abort = new AbortController();
    const taking = stream.takeAsync(abort.signal);
    abort.abort(new Error("stopped"));
    await expect(taking).rejects.toThrow("stopped");
    expect(stream.ready).toBe(false);
  });

  it.each([0, 1, 399, 400, 799])("names the shard whose byte %i was flipped", async (byte) => {
    const { set, flow, rows, write } = await streamed("flipped", true, 100);
    await write(0);
    await write(1);
    flow.announce(2);
    const path = join(root, set.rowsKey(0));
    const bytes = await readFile(path);
    bytes[byte] = (bytes[byte] ?? 0) ^ 1;
    await writeFile(path, bytes);
    await using stream = new BatchStream(rows, { batchRows: 10, bufferRows: 220, seed: 5n });
    const error: unknown = await stream.takeAsync().catch((reason: unknown) => reason);
    expect(damagedShard(error)).toEqual({ folder: set.folder, index: 0 });
  });

  it.each([0, 1, 799])("names the shard that was cut after %i bytes", async (length) => {
    const { set, flow, rows, write } = await streamed("torn", true, 100);
    await write(0);
    await write(1);
    flow.announce(2);
    const path = join(root, set.rowsKey(1));
    await writeFile(path, (await readFile(path)).subarray(0, Math.min(length, 700)));
    await using stream = new BatchStream(rows, { batchRows: 10, bufferRows: 220, seed: 5n });
    const error: unknown = await stream.takeAsync().catch((reason: unknown) => reason);
    expect(damagedShard(error)).toEqual({ folder: set.folder, index: 1 });
  });
});
