import { InputError } from "@mistral-sae/tensor";
import type { RowFile, StoreAddress } from "./row-file.ts";
import type { ActivationSource } from "./shard-set.ts";

/** Rows that lie in files, shard by shard. */
export interface StoredRows {
  readonly kind: "stored";
  /** One list of shards for each part of a row, left to right; shard i has the same rows in each. */
  readonly columns: readonly (readonly RowFile[])[];
}

/** Rows that are read while they are harvested. */
export interface StreamedRows {
  readonly kind: "streamed";
  /** One set of shards for each part of a row, left to right. */
  readonly sets: readonly ShardSetPlace[];
  /** Memory of the {@link StreamFlow} that the harvest announces its shards in. */
  readonly flow: SharedArrayBuffer;
  /** Whether shards are dropped once they are passed: later epochs then come in the order of the harvest. */
  readonly inOrder: boolean;
  /** Rows that will be read; nothing is waited for beyond them. */
  readonly totalRows: number;
}

export interface ShardSetPlace {
  readonly address: StoreAddress;
  readonly folder: string;
  readonly source: ActivationSource;
}

/** Where a stream's rows come from, in a form that worker threads can be told. */
export type RowSource = StoredRows | StreamedRows;

/** Stored rows of one part, or several side by side. @throws InputError when there is no row, or the lists do not belong together. */
export function storedRows(...columns: readonly (readonly RowFile[])[]): StoredRows {
  const [first = []] = columns;
  for (const files of columns) {
    const [head] = files;
    if (head === undefined) throw new InputError("no activation files were given", { field: "activations", got: "0 files", wanted: "at least 1" });
    const odd = files.find((file) => file.width !== head.width || file.dtype !== head.dtype);
    if (odd !== undefined) {
      throw new InputError(`the rows of ${odd.key} differ from those of ${head.key}`, { file: odd.key, field: "x", got: `${odd.dtype} [n, ${odd.width}]`, wanted: `${head.dtype} [n, ${head.width}]` });
    }
    const short = first.findIndex((file, shard) => file.rows !== files[shard]?.rows);
    if (short >= 0 || files.length !== first.length) {
      throw new InputError("inputs and outputs have different rows", { file: files[short]?.key ?? head.key, field: "rows", got: `${files[short]?.rows ?? 0} rows`, wanted: `${first[short]?.rows ?? 0} rows` });
    }
  }
  return { kind: "stored", columns };
}

/** Values of each part of a row. */
export function columnWidths(source: RowSource): readonly number[] {
  return source.kind === "stored" ? source.columns.map(([file]) => file?.width ?? 0) : source.sets.map((set) => set.source.width);
}
