import { arrayColumn, constantColumn, fixedColumn, type NativeColumn, stringColumn } from "@mistral-sae/clickhouse";
import { BLOCK_POSITIONS, BlockLayout } from "../blocks/block-layout.ts";
import type { BlockCode } from "../blocks/block-code.ts";
import type { BlockCodes } from "../indexing/store-block.ts";
import type { ChunkWindow } from "./chunk.ts";
import type { CodeMemory, IngestMemory } from "./ingest-memory.ts";

/** A window with the place of its first token in its document, special tokens not counted. */
export interface PlacedWindow extends ChunkWindow {
  readonly tokenStart: number;
}

/** The windows of one block as they come in, with their codes. */
export class BlockAssembly {
  readonly #dSae: number;
  readonly #pool: IngestMemory;
  readonly #memory: CodeMemory;
  readonly #windows: PlacedWindow[] = [];
  readonly #tokens = new Uint32Array(BLOCK_POSITIONS);
  /** Windows that it takes. */
  readonly capacity: number;
  #nTokens = 0;

  constructor(contextSize: number, dSae: number, pool: IngestMemory, memory: CodeMemory) {
    this.#dSae = dSae;
    this.#pool = pool;
    this.#memory = memory;
    this.#memory.rowOffsets[0] = 0;
    this.capacity = new BlockLayout(contextSize, 0).blockSequences;
  }

  get nWindows(): number {
    return this.#windows.length;
  }

  get nTokens(): number {
    return this.#nTokens;
  }

  get isFull(): boolean {
    return this.nWindows === this.capacity;
  }

  /** Adds windows whose codes are the rows of `code` from `firstRow` on. */
  add(windows: readonly PlacedWindow[], code: BlockCode, firstRow: number): void {
    const { rowOffsets } = this.#memory;
    const rows = windows.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    const startOf = (row: number) => (code.rowOffsets === undefined ? row * code.k : (code.rowOffsets[row] as number));
    const start = startOf(firstRow);
    const end = startOf(firstRow + rows);
    const used = rowOffsets[this.#nTokens] as number;
    this.#pool.grow(this.#memory, used, used + end - start);
    this.#memory.indices.set(code.indices.subarray(start, end), used);
    this.#memory.acts.set(code.acts.subarray(start, end), used);
    const base = used - start;
    if (code.rowOffsets === undefined) for (let row = 1; row <= rows; row++) rowOffsets[this.#nTokens + row] = base + (firstRow + row) * code.k;
    else for (let row = 1; row <= rows; row++) rowOffsets[this.#nTokens + row] = base + (code.rowOffsets[firstRow + row] as number);
    let at = this.#nTokens;
    for (const window of windows) {
      this.#tokens.set(window.tokenIds, at);
      at += window.tokenIds.length;
      this.#windows.push(window);
    }
    this.#nTokens = at;
  }

  /** What `storeBlock` takes; views, valid until `release`. */
  get codes(): BlockCodes {
    const { indices, acts, rowOffsets } = this.#memory;
    const pairs = rowOffsets[this.#nTokens] as number;
    const code: BlockCode = { nTokens: this.#nTokens, k: 0, dSae: this.#dSae, indices: indices.subarray(0, pairs), acts: acts.subarray(0, pairs), rowOffsets: rowOffsets.subarray(0, this.#nTokens + 1) };
    return { lengths: Uint32Array.from(this.#windows, ({ tokenIds }) => tokenIds.length), special: this.#windows.map(({ special }) => special), codes: [code] };
  }

  /** Rows of `sequences`. */
  sequenceColumns(corpusId: number, firstSequence: number): NativeColumn[] {
    const rows = this.nWindows;
    return [
      constantColumn("corpus_id", "UInt32", corpusId, rows),
      fixedColumn("sequence_id", "UInt32", Uint32Array.from(this.#windows, (_, i) => firstSequence + i)),
      ...this.#windowColumns(0),
    ];
  }

  /** Rows of `ingest_tails` for the windows from the given place on. */
  tailColumns(owner: { readonly indexId: number; readonly shard: number; readonly filled: number; readonly version: bigint }, from: number): NativeColumn[] {
    const rows = this.nWindows - from;
    const firstToken = this.#windows.slice(0, from).reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
    const { indices, acts, rowOffsets } = this.#memory;
    const first = rowOffsets[firstToken] as number;
    const last = rowOffsets[this.#nTokens] as number;
    const tokenEnds = this.#tokenEnds(from);
    const pairEnds = tokenEnds.map((end) => (rowOffsets[firstToken + end] as number) - first);
    const rowLengths = Uint32Array.from({ length: this.#nTokens - firstToken }, (_, i) => (rowOffsets[firstToken + i + 1] as number) - (rowOffsets[firstToken + i] as number));
    return [
      constantColumn("index_id", "UInt32", owner.indexId, rows),
      constantColumn("shard", "UInt32", owner.shard, rows),
      constantColumn("filled", "UInt32", owner.filled, rows),
      fixedColumn("place", "UInt32", Uint32Array.from({ length: rows }, (_, i) => from + i)),
      ...this.#windowColumns(from),
      arrayColumn("row_lengths", "UInt32", tokenEnds, rowLengths),
      arrayColumn("features", "UInt32", pairEnds, indices.subarray(first, last)),
      arrayColumn("acts", "BFloat16", pairEnds, acts.subarray(first, last)),
      fixedColumn("version", "UInt64", new BigUint64Array(rows).fill(owner.version)),
    ];
  }

  /** Gives the memory back; the assembly is used no more. */
  release(): void {
    this.#pool.give(this.#memory);
  }

  #windowColumns(from: number): NativeColumn[] {
    const windows = this.#windows.slice(from);
    const tokenEnds = this.#tokenEnds(from);
    const firstToken = this.#nTokens - (tokenEnds.at(-1) ?? 0);
    const special = windows.flatMap((window) => window.special);
    let specials = 0;
    return [
      fixedColumn("doc_id", "UInt32", Uint32Array.from(windows, ({ docId }) => docId)),
      stringColumn("source", windows.map(({ source }) => source)),
      fixedColumn("token_start", "UInt32", Uint32Array.from(windows, ({ tokenStart }) => tokenStart)),
      arrayColumn("tokens", "UInt32", tokenEnds, this.#tokens.subarray(firstToken, this.#nTokens)),
      arrayColumn("special", "UInt16", Uint32Array.from(windows, (window) => (specials += window.special.length)), Uint16Array.from(special)),
    ];
  }

  #tokenEnds(from: number): Uint32Array {
    let end = 0;
    return Uint32Array.from(this.#windows.slice(from), ({ tokenIds }) => (end += tokenIds.length));
  }
}
