import { createHash } from "node:crypto";
import { DTYPE_BYTES, InputError, type FloatDType } from "@mistral-sae/tensor";
import { readJson } from "./read-json.ts";
import { openStore, type RowFile, type StoreAddress } from "./row-file.ts";

/** Everything that decides the rows of a shard set. Equal sources give equal shards, bit for bit. */
export interface ActivationSource {
  readonly modelDigest: string;
  readonly hookName: string;
  /** Fingerprint of the corpus that was read. */
  readonly corpus: string;
  /** Tokens of a window, BOS included. */
  readonly contextSize: number;
  readonly dtype: FloatDType;
  /** Values of a row. */
  readonly width: number;
  /** Tokens of a shard: it takes documents until it has at least this many. */
  readonly shardTokens: number;
  /** Which documents were read. */
  readonly documents: "trained-on" | "all" | "imported";
  /** models/{model}, where it is known by name only. */
  readonly model?: string;
}

/** What is recorded of a finished shard, after its rows are on disk: a shard without a record does not exist. */
export interface ShardRecord {
  readonly index: number;
  readonly rows: number;
  /** First document ordinal, and one past the last; documents that were left out lie between too. */
  readonly documentStart: number;
  readonly documentEnd: number;
  /** Rows harvested before this shard. */
  readonly rowStart: number;
  /** SHA-256 of the rows' bytes. */
  readonly sha256: string;
}

/** Written when the corpus' end was reached. */
export interface SetEnd {
  readonly shards: number;
  readonly rows: number;
  readonly documents: number;
  readonly heldBack: number;
  readonly emptyTexts: number;
}

/** Document ordinal and position of a row, u32 each. */
export const PLACE_BYTES = 8;

const LAYOUT = "mistral-sae activations 1";

/** Folder name of a source's shards. */
export function activationKey(source: ActivationSource): string {
  const { modelDigest, hookName, corpus, contextSize, dtype, width, shardTokens, documents } = source;
  const named = JSON.stringify([LAYOUT, modelDigest, hookName, corpus, contextSize, dtype, width, shardTokens, documents]);
  return createHash("sha256").update(named).digest("hex").slice(0, 24);
}

/** Folder name of the shards that one reader alone reads and drops. */
export function privateKey(source: ActivationSource, reader: string): string {
  return `${activationKey(source)}-${createHash("sha256").update(reader).digest("hex").slice(0, 12)}`;
}

/** Shards of one source in one folder of a store, written in order and read by any number of runs. */
export class ShardSet {
  readonly source: ActivationSource;
  readonly address: StoreAddress;
  readonly folder: string;

  constructor(address: StoreAddress, folder: string, source: ActivationSource) {
    this.address = address;
    this.folder = folder;
    this.source = source;
  }

  /**
   * Opens the folder of a source, making its description on first use. A `reader` has a folder of its own, for
   * shards that are dropped once it has passed them.
   */
  static async open(address: StoreAddress, source: ActivationSource, details: Readonly<Record<string, unknown>> = {}, reader?: string): Promise<ShardSet> {
    const folder = reader === undefined ? activationKey(source) : privateKey(source, reader);
    const description = JSON.stringify({ layout: LAYOUT, ...source, ...details }, undefined, 2);
    await openStore(address).putIfAbsent(`${folder}/source.json`, Buffer.from(`${description}\n`));
    return new ShardSet(address, folder, source);
  }

  /** The set in a folder, by its own description. @returns Undefined when there is none. */
  static async at(address: StoreAddress, folder: string): Promise<ShardSet | undefined> {
    const source = await readJson<ActivationSource>(address, `${folder}/source.json`);
    return source === undefined ? undefined : new ShardSet(address, folder, source);
  }

  /** Removes what a killed harvest left half written. Call it only when no harvest of this source is under way. */
  async removeUnfinished(): Promise<void> {
    await openStore(this.address).removeUnfinished(`${this.folder}/`);
  }

  rowsKey(index: number): string {
    return `${this.folder}/shard-${String(index).padStart(6, "0")}.rows`;
  }

  recordKey(index: number): string {
    return `${this.folder}/shard-${String(index).padStart(6, "0")}.json`;
  }

  /** The record of a shard. @returns Undefined until the shard is finished. */
  async record(index: number): Promise<ShardRecord | undefined> {
    return await readJson<ShardRecord>(this.address, this.recordKey(index));
  }

  /** The records from the first on, whether or not their rows are stored, up to the first gap or until `rows` rows are reached. */
  async records(rows: number = Infinity): Promise<readonly ShardRecord[]> {
    const records: ShardRecord[] = [];
    let total = 0;
    for (let record = await this.record(0); record !== undefined && total < rows; record = await this.record(records.length)) {
      records.push(record);
      total += record.rows;
    }
    return records;
  }

  /** The shards whose rows are stored from the first on, up to the first gap, or until `rows` rows are reached. */
  async finished(rows: number = Infinity): Promise<readonly ShardRecord[]> {
    const records = await this.records(rows);
    const stored = await Promise.all(records.map((record) => this.isStored(record)));
    const gap = stored.indexOf(false);
    return gap < 0 ? records : records.slice(0, gap);
  }

  /** Whether a recorded shard's rows are there in their full length; a shard that was dropped keeps its record. */
  async isStored(record: ShardRecord): Promise<boolean> {
    return (await openStore(this.address).head(this.rowsKey(record.index)))?.size === this.shardBytes(record.rows);
  }

  /** Bytes that a shard takes: its rows and 8 for each row's document and position. */
  shardBytes(rows: number): number {
    return rows * (this.source.width * DTYPE_BYTES[this.source.dtype] + PLACE_BYTES);
  }

  /** Removes a shard's rows. Its record stays, so that the rows after it keep their places. */
  async drop(index: number): Promise<void> {
    await openStore(this.address).delete(this.rowsKey(index));
  }

  /** Removes everything of the set. Call it only when nobody reads or writes it. */
  async remove(): Promise<void> {
    const store = openStore(this.address);
    await this.removeUnfinished();
    for await (const { key } of store.list(`${this.folder}/`)) await store.delete(key);
  }

  /** @returns Undefined until the corpus has been read to its end. */
  async end(): Promise<SetEnd | undefined> {
    return await readJson<SetEnd>(this.address, `${this.folder}/end.json`);
  }

  async writeEnd(end: SetEnd): Promise<void> {
    await openStore(this.address).put(`${this.folder}/end.json`, Buffer.from(`${JSON.stringify(end)}\n`));
  }

  /** Where the rows of a shard lie that has a record. @throws InputError when it has none. */
  async recordedFile(index: number): Promise<RowFile> {
    const record = await this.record(index);
    if (record === undefined) throw new InputError(`shard ${index} has no record`, { file: `${this.address.root}/${this.recordKey(index)}`, field: "record", got: "nothing", wanted: "a record" });
    return this.rowFile(record);
  }

  /** Where a finished shard's rows lie. */
  rowFile(record: ShardRecord): RowFile {
    const { width, dtype } = this.source;
    return { store: this.address, key: this.rowsKey(record.index), byteOffset: 0, rows: record.rows, width, dtype, sha256: record.sha256 };
  }

  /**
   * Commits a shard: its rows, document ordinals and positions in one blob, then its record. A shard that is
   * written twice ends up the same.
   */
  async write(record: Omit<ShardRecord, "sha256">, rows: Uint8Array, places: RowPlaces): Promise<ShardRecord> {
    const wanted = record.rows * this.source.width * DTYPE_BYTES[this.source.dtype];
    if (rows.length !== wanted) throw new InputError(`shard ${record.index} does not have the bytes of its rows`, { field: "rows", got: `${rows.length} bytes`, wanted: `${wanted} bytes` });
    const store = openStore(this.address);
    const whole: ShardRecord = { ...record, sha256: createHash("sha256").update(rows).digest("hex") };
    await store.put(this.rowsKey(record.index), [rows, bytes(places.documents), bytes(places.positions)]);
    await store.put(this.recordKey(record.index), Buffer.from(`${JSON.stringify(whole)}\n`));
    return whole;
  }

  /** Document ordinal and position of each row of a finished shard. */
  async places(record: ShardRecord): Promise<RowPlaces> {
    const { width, dtype } = this.source;
    const start = record.rows * width * DTYPE_BYTES[dtype];
    const both = new Uint32Array(record.rows * 2);
    await openStore(this.address).get(this.rowsKey(record.index), { start, length: both.byteLength }, bytes(both));
    return { documents: both.subarray(0, record.rows), positions: both.subarray(record.rows) };
  }
}

/** Where each row of a shard comes from. */
export interface RowPlaces {
  /** Document ordinals [rows]. */
  readonly documents: Uint32Array;
  /** Positions in the document's tokens, BOS not counted [rows]. */
  readonly positions: Uint32Array;
}

function bytes(values: Uint32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
