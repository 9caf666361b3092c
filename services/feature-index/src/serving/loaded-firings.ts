import { BlockLayout } from "../blocks/block-layout.ts";
import { BF16 } from "../building/value-counts.ts";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";
import type { WindowFiring } from "../wire/example-message.ts";
import { type FiringRow, Firings, type FiringScope, type Place } from "./firings.ts";

// 4 bytes each; a feature that fires more often is looked at by ClickHouse.
const MOST_FIRINGS = 4_000_000;

/** The posting list of a block: entries from `start` to `end` of all. */
interface Segment {
  readonly block: number;
  readonly start: number;
  readonly end: number;
}

/** The firings of one feature, read once and then looked at here: one query in the place of one a question. */
export class LoadedFirings extends Firings {
  readonly #layout: BlockLayout;
  readonly #segments: readonly Segment[];
  readonly #pos: Uint16Array;
  /** bfloat16 bits. */
  readonly #acts: Uint16Array;
  /** How often each activation occurs, by its bits. */
  readonly #counts = new Uint32Array(0x8000);

  private constructor(scope: FiringScope, segments: readonly Segment[], pos: Uint16Array, acts: Uint16Array) {
    super(scope);
    this.#layout = new BlockLayout(scope.index.corpus.contextSize, scope.index.nSequences);
    this.#segments = segments;
    this.#pos = pos;
    this.#acts = acts;
    for (const bits of acts) this.#counts[bits]! += 1;
  }

  /** The firings of a feature, here where they can be: when they are few enough, rounded, and not to be kept to one source. */
  static async open(scope: FiringScope): Promise<Firings> {
    const { clickhouse, index, feature, source, signal } = scope;
    if (source === "" && !index.includeSpecialTokens && index.importedFrom === "") {
      const where = `FROM ${T.postings} WHERE index_id = {indexId:UInt32} AND is_special = 0 AND feature_index = {feature:UInt32}`;
      const sql = `SELECT block, pos, acts ${where} AND (SELECT sum(n) ${where}) <= {most:UInt64} ORDER BY block`;
      const bytes = await clickhouse.small(sql, { indexId: index.indexId, feature, most: MOST_FIRINGS }, { max_threads: 1 });
      signal.throwIfAborted();
      if (bytes.length > 0) return LoadedFirings.#of(bytes, scope);
    }
    return new Firings(scope);
  }

  static #of(bytes: Buffer, scope: FiringScope): LoadedFirings {
    // No more than the bytes of both together.
    const pos = new Uint16Array(bytes.length >> 2);
    const acts = new Uint16Array(bytes.length >> 2);
    const segments: Segment[] = [];
    let n = 0;
    const reader = new RowReader((row) => {
      const block = row.u32();
      const start = n;
      n += copyU16(row.array(2), pos, start);
      copyU16(row.array(2), acts, start);
      segments.push({ block, start, end: n });
    });
    reader.push(bytes);
    reader.end();
    return new LoadedFirings(scope, segments, pos.subarray(0, n), acts.subarray(0, n));
  }

  override strongest(limit: number, offset: number): Promise<FiringRow[]> {
    return this.ranked(Array.from({ length: Math.max(0, Math.min(limit, this.#acts.length - offset)) }, (_, i) => offset + i + 1));
  }

  override async ranked(ranks: readonly number[]): Promise<(FiringRow & { readonly rank: number })[]> {
    const wanted = this.#occurrences(ranks);
    const gone = new Map<number, number>();
    const found: (FiringRow & { readonly rank: number })[] = [];
    for (const { block, start, end } of wanted.size === 0 ? [] : this.#segments) {
      for (let i = start; i < end; i++) {
        const bits = this.#acts[i] as number;
        const ofValue = wanted.get(bits);
        if (ofValue === undefined) continue;
        const occurrence = gone.get(bits) ?? 0;
        gone.set(bits, occurrence + 1);
        const rank = ofValue.get(occurrence);
        if (rank !== undefined) found.push({ block, pos: this.#pos[i] as number, activation: BF16[bits] as number, rank });
      }
    }
    return await Promise.resolve(found.sort((a, b) => a.rank - b.rank));
  }

  override async extent(): Promise<{ readonly n: number; readonly min: number; readonly max: number }> {
    return await Promise.resolve({ n: this.#acts.length, min: BF16[this.#counts.findIndex((n) => n > 0)] ?? 0, max: BF16[this.#counts.findLastIndex((n) => n > 0)] ?? 0 });
  }

  override async counts(low: number, high: number, nBins: number, log: boolean): Promise<number[]> {
    const counts = Array.from({ length: nBins }, () => 0);
    for (const [bits, n] of this.#counts.entries()) {
      if (n === 0) continue;
      const value = BF16[bits] as number;
      const share = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
      counts[Math.min(nBins - 1, Math.max(0, Math.floor(share * nBins)))]! += n;
    }
    return await Promise.resolve(counts);
  }

  override async inWindows(places: readonly Place[]): Promise<WindowFiring[]> {
    const segmentOf = new Map(this.#segments.map((segment) => [segment.block, segment]));
    const windows = places.map(({ block, pos }) => {
      const token = this.#layout.tokenAt(pos);
      const first = pos - token;
      const { start, end } = segmentOf.get(block) ?? { start: 0, end: 0 };
      const at: number[] = [];
      const acts: number[] = [];
      for (let i = this.#from(first, start, end); i < end && (this.#pos[i] as number) < first + this.#layout.contextSize; i++) {
        at.push((this.#pos[i] as number) - first);
        acts.push(BF16[this.#acts[i] as number] as number);
      }
      return { sequence: this.#layout.sequenceAt(block, pos), token, pos: at, acts };
    });
    return await Promise.resolve(windows);
  }

  /** Which occurrences of which values have these ranks: strongest first, equals in the order of the text; ranks count from 1. */
  #occurrences(ranks: readonly number[]): Map<number, Map<number, number>> {
    const wanted = new Map<number, Map<number, number>>();
    let bits = this.#counts.length - 1;
    let before = 0;
    for (const rank of ranks.toSorted((a, b) => a - b)) {
      if (rank > this.#acts.length) break;
      while (before + (this.#counts[bits] as number) < rank) before += this.#counts[bits--] as number;
      let ofValue = wanted.get(bits);
      if (ofValue === undefined) wanted.set(bits, (ofValue = new Map()));
      ofValue.set(rank - 1 - before, rank);
    }
    return wanted;
  }

  /** The first entry between start and end whose position is at least `pos`. */
  #from(pos: number, start: number, end: number): number {
    let [low, high] = [start, end];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#pos[middle] as number) < pos) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Little-endian values at whatever address, written from `at`; returns how many. */
function copyU16(bytes: Uint8Array, into: Uint16Array, at: number): number {
  new Uint8Array(into.buffer, into.byteOffset).set(bytes, 2 * at);
  return bytes.length >> 1;
}
