import type { ClickHouse } from "@mistral-sae/clickhouse";
import { Growing } from "../blocks/growing.ts";
import { RowReader } from "../store/row-reader.ts";
import { T } from "../store/tables.ts";

/** Which posting lists of an index are read. */
export interface PostingRange {
  readonly indexId: number;
  /** Features from start up to, not including, end. */
  readonly start: number;
  readonly end: number;
  readonly includeSpecial: boolean;
}

/** One feature's firings in one block; views that are valid while it is handled. */
export type PostingHandler = (feature: number, block: number, pos: Uint16Array, acts: Uint16Array) => void;

// In the order of the key: nothing is sorted. Small blocks of rows keep the server's memory small.
const PLAIN = `SELECT feature_index, block, pos, acts FROM ${T.postings}
  WHERE index_id = {indexId:UInt32} AND is_special = 0 AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}
  ORDER BY feature_index, block`;
const WITH_SPECIAL = `SELECT feature_index, block, arraySort(groupArrayArray(pos)) AS positions,
    arraySort((act, at) -> at, groupArrayArray(acts), groupArrayArray(pos)) AS activations FROM ${T.postings}
  WHERE index_id = {indexId:UInt32} AND feature_index >= {start:UInt32} AND feature_index < {end:UInt32}
  GROUP BY feature_index, block ORDER BY feature_index, block`;

/** Hands over posting lists feature by feature, block by block. */
export async function readPostings(clickhouse: ClickHouse, range: PostingRange, handle: PostingHandler): Promise<void> {
  const { indexId, start, end, includeSpecial } = range;
  const pos = new Growing((n) => new Uint16Array(n));
  const acts = new Growing((n) => new Uint16Array(n));
  const reader = new RowReader((row) => {
    const feature = row.u32();
    const block = row.u32();
    // Arrays lie at odd addresses among the bytes; these copies are aligned.
    const posBytes = row.array(2);
    const actBytes = row.array(2);
    handle(feature, block, aligned(pos, posBytes), aligned(acts, actBytes));
  });
  const sql = includeSpecial ? WITH_SPECIAL : PLAIN;
  for await (const chunk of clickhouse.bytes(sql, "RowBinary", { indexId, start, end }, { settings: { max_threads: 1, max_block_size: "4096" } })) reader.push(chunk);
  reader.end();
}

function aligned(into: Growing<Uint16Array<ArrayBuffer>>, bytes: Uint8Array): Uint16Array {
  const length = bytes.byteLength / 2;
  into.clear();
  const memory = into.room(length);
  new Uint8Array(memory.buffer).set(bytes);
  return memory.subarray(0, length);
}

/** The posting lists of one feature, kept for a second reading as long as they are not too many. */
export class KeptPostings {
  readonly #limit: number;
  readonly #blocks: number[] = [];
  readonly #ends: number[] = [];
  readonly #pos = new Growing((n) => new Uint16Array(n), 1 << 16);
  readonly #acts = new Growing((n) => new Uint16Array(n), 1 << 16);
  #complete = true;

  /** Keeps at most `limit` firings. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Whether everything that was added is still here. */
  get complete(): boolean {
    return this.#complete;
  }

  add(block: number, pos: Uint16Array, acts: Uint16Array): void {
    if (!this.#complete || this.#pos.length + pos.length > this.#limit) {
      this.#complete = false;
      return;
    }
    this.#pos.append(pos as Uint16Array<ArrayBuffer>);
    this.#acts.append(acts as Uint16Array<ArrayBuffer>);
    this.#blocks.push(block);
    this.#ends.push(this.#pos.length);
  }

  /** Hands over what was kept, block by block. */
  forEach(handle: (block: number, pos: Uint16Array, acts: Uint16Array) => void): void {
    const pos = this.#pos.view();
    const acts = this.#acts.view();
    let start = 0;
    for (const [i, block] of this.#blocks.entries()) {
      const end = this.#ends[i] as number;
      handle(block, pos.subarray(start, end), acts.subarray(start, end));
      start = end;
    }
  }

  clear(): void {
    this.#pos.clear();
    this.#acts.clear();
    this.#blocks.length = 0;
    this.#ends.length = 0;
    this.#complete = true;
  }
}
