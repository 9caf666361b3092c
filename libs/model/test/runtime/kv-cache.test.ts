import { describe, expect, it } from "vitest";
import { CacheFullError } from "../../src/cache-full-error.ts";
import type { CacheRow } from "../../src/runtime/kv-arena.ts";
import { capacityFor, KvCache } from "../../src/runtime/kv-cache.ts";

/** Rotates by nothing, so that keys stay as they are given. */
const rotary = { positions: 1024, half: 2, cos: new Float32Array(2048).fill(1), sin: new Float32Array(2048) };
const shape = { nLayers: 2, nKeyValueHeads: 2, dHead: 4, rotary };
const one = { size: 1, steps: 1, lengths: Uint32Array.of(1) };

/** Appends one position whose keys and values are made of `value`. */
function append(row: CacheRow, value: number): void {
  for (let layer = 0; layer < shape.nLayers; layer++) {
    const keys = Float32Array.from({ length: 8 }, (_, i) => value * 100 + layer * 10 + i);
    row.arena.append(row, layer, Float32Array.of(...keys, ...keys.map((x) => -x)), one, 0);
  }
  row.length++;
}

/** What a session would be fed for the row: head 0's keys of layer 1, position by position. */
function keysOf(row: CacheRow): number[] {
  const feeds: Record<string, { readonly data: unknown }> = {};
  row.arena.feed(feeds as never, 0, 2, row.row, 1);
  const keys = feeds["past_key_1"]!.data as Float32Array;
  return Array.from({ length: row.length }, (_, position) => keys[position * 4]!);
}

describe("capacityFor", () => {
  it("follows the length closely and never exceeds the context", () => {
    expect([1, 64, 65, 512, 513, 700, 3000, 4096].map((length) => capacityFor(length, 4096))).toEqual([64, 64, 128, 512, 640, 768, 3072, 4096]);
    expect(capacityFor(500, 510)).toBe(510);
    for (let length = 64; length < 4096; length++) expect(capacityFor(length, 4096) / length).toBeLessThan(2);
  });
});

describe("KvCache", () => {
  it("keeps every row's own positions through growth, reordering, forks and releases", () => {
    const cache = new KvCache(shape, 1024, 1 << 24);
    const rows: { row: CacheRow; values: number[] }[] = [];
    const faults: string[] = [];
    let seed = 12_345;
    const random = (n: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % n;
    };
    for (let step = 0; step < 1500; step++) {
      const action = random(10);
      if (rows.length < 2 || action === 0) rows.push({ row: cache.allocate(1 + random(100)), values: [] });
      else if (action === 1 && rows.length > 3) cache.release(rows.splice(random(rows.length), 1)[0]!.row);
      else if (action === 2) {
        const from = rows[random(rows.length)]!;
        const length = random(from.row.length + 1);
        rows.push({ row: cache.fork(from.row, length, length + 1), values: from.values.slice(0, length) });
      } else {
        const members = rows.filter(() => random(3) > 0);
        for (const group of cache.group(members.map(({ row }) => row))) {
          for (const [i, row] of group.rows.entries()) {
            if (row.row !== i || row.arena !== group.arena || row.arena.capacity <= row.length) faults.push(`step ${step}: row ${i} is out of place`);
            const member = rows.find((other) => other.row === row)!;
            append(row, step);
            member.values.push(step * 100 + 10);
          }
        }
      }
      for (const { row, values } of step % 50 === 0 ? rows : []) if (keysOf(row).join() !== values.join()) faults.push(`step ${step}: a row lost its keys`);
    }
    expect(faults).toEqual([]);
  });

  it("parts sequences of very different lengths and keeps those of like length together", () => {
    const cache = new KvCache(shape, 4096, 1 << 28);
    const rows = [100, 120, 130, 2000].map((length) => {
      const row = cache.allocate(length + 1);
      row.length = length;
      return row;
    });
    const groups = cache.group(rows);
    expect(groups.map((group) => group.rows.map(({ length }) => length))).toEqual([[2000], [100, 120, 130]]);
  });

  it("gives up what freed rows leave in other arenas before it refuses", () => {
    const perRow = 64 * 2 * 2 * 4 * 2 * 4;
    const cache = new KvCache(shape, 1024, 4 * perRow);
    const [kept, ...freed] = Array.from({ length: 4 }, () => cache.allocate(10));
    append(kept!, 7);
    for (const row of freed) cache.release(row);
    expect(cache.allocate(100).arena.capacity).toBe(128);
    expect(keysOf(kept!)).toEqual([710]);
    expect(cache.bytes).toBe(3 * perRow);
  });

  it("refuses what exceeds its budget and drops empty arenas first", () => {
    const perRow = 64 * 2 * 2 * 4 * 2 * 4;
    const cache = new KvCache(shape, 1024, 4 * perRow);
    const rows = Array.from({ length: 4 }, () => cache.allocate(10));
    expect(() => cache.allocate(10)).toThrow(CacheFullError);
    for (const row of rows) cache.release(row);
    expect(cache.allocate(200).arena.capacity).toBe(256);
    expect(cache.bytes).toBe(4 * perRow);
    expect(() => cache.allocate(10)).toThrow(`the key-value cache is full: ${4 * perRow} of ${4 * perRow} bytes in use, ${perRow} more wanted`);
  });
});
