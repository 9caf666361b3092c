import { CacheFullError } from "../cache-full-error.ts";
import { arenaBytes, KvArena, type CacheRow, type CacheShape } from "./kv-arena.ts";

/** Rows that run as one batch: the first `rows.length` of their arena, in this order. */
export interface CacheGroup {
  readonly arena: KvArena;
  readonly rows: readonly CacheRow[];
}

/**
 * Positions to keep for a sequence of `length`: attention pays for capacity, so it follows the length closely; each
 * step is a quarter of it or less, 64 at least.
 */
export function capacityFor(length: number, nCtx: number): number {
  const step = Math.max(64, 2 ** Math.floor(Math.log2(length)) / 4);
  return Math.min(Math.ceil(length / step) * step, nCtx);
}

/** The keys and values of all sequences, within a budget of bytes. */
export class KvCache {
  readonly #shape: CacheShape;
  readonly #nCtx: number;
  readonly #budget: number;
  readonly #arenas = new Map<number, KvArena>();

  constructor(shape: CacheShape, nCtx: number, budget: number) {
    this.#shape = shape;
    this.#nCtx = nCtx;
    this.#budget = budget;
  }

  get bytes(): number {
    let bytes = 0;
    for (const arena of this.#arenas.values()) bytes += arena.bytes;
    return bytes;
  }

  /** An empty row with room for `length` positions. Throws CacheFullError when the budget is spent. */
  allocate(length: number): CacheRow {
    const arena = this.#reserve(capacityFor(length, this.#nCtx), 1);
    return arena.add();
  }

  /** Gives a row back. Its memory serves the next rows until other capacities need it. */
  release(row: CacheRow): void {
    row.arena.remove(row);
  }

  /** A new row with the first `length` positions of another and room for `room`. */
  fork(from: CacheRow, length: number, room: number): CacheRow {
    const to = this.allocate(room);
    to.arena.copy(from, to, length);
    return to;
  }

  /**
   * Groups rows for steps of one token each, `steps` of them, making room for all. Rows that need less than half of a group's capacity
   * form a group of their own, so that one long sequence does not make all the others pay.
   */
  group(rows: readonly CacheRow[], steps = 1): CacheGroup[] {
    const waiting = [...rows].sort((a, b) => b.length - a.length);
    const groups: CacheGroup[] = [];
    while (waiting.length > 0) {
      const capacity = capacityFor((waiting[0]?.length ?? 0) + steps, this.#nCtx);
      let count = waiting.findIndex((row) => capacityFor(row.length + steps, this.#nCtx) * 2 < capacity);
      if (count < 0) count = waiting.length;
      const members = new Set(waiting.splice(0, count));
      const moving = [...members].filter((row) => row.arena.capacity !== capacity);
      const arena = moving.length === 0 ? [...members][0]?.arena : this.#reserve(capacity, moving.length);
      if (arena === undefined) break;
      for (const row of moving) this.#move(row, arena);
      const ordered = rows.filter((row) => members.has(row));
      arena.order(ordered);
      groups.push({ arena, rows: ordered });
    }
    return groups;
  }

  #move(row: CacheRow, to: KvArena): void {
    const place = to.add();
    to.copy(row, place, row.length);
    const from = row.arena;
    const old: CacheRow = { arena: from, row: row.row, length: row.length };
    from.replace(row, old);
    to.replace(place, row);
    row.arena = to;
    row.row = place.row;
    from.remove(old);
  }

  #reserve(capacity: number, count: number): KvArena {
    let arena = this.#arenas.get(capacity);
    if (arena === undefined) {
      arena = new KvArena(this.#shape, capacity);
      this.#arenas.set(capacity, arena);
    }
    const needed = arena.used + count;
    if (needed <= arena.space) return arena;
    const least = arenaBytes(this.#shape, capacity, needed) - arena.bytes;
    if (this.bytes + least > this.#budget) this.#trim(arena);
    if (this.bytes + least > this.#budget) throw new CacheFullError(this.bytes, this.#budget, least);
    const roomy = Math.ceil(arena.space * 1.5);
    const extra = arenaBytes(this.#shape, capacity, roomy) - arena.bytes;
    arena.resize(roomy > needed && this.bytes + extra <= this.#budget ? roomy : needed);
    return arena;
  }

  /** Gives up what other arenas hold beyond their rows in use. */
  #trim(except: KvArena): void {
    for (const [capacity, arena] of this.#arenas) {
      if (arena === except) continue;
      if (arena.used === 0) this.#arenas.delete(capacity);
      else if (arena.used < arena.space) arena.resize(arena.used);
    }
  }
}
