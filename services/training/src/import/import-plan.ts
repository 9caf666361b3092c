import type { ActivationSource, RowFile, StoreAddress } from "@mistral-sae/activations";

/** What to store of which files. */
export interface ImportPlan {
  readonly store: StoreAddress;
  readonly source: ActivationSource;
  /** Where the files lie, for people. */
  readonly uri: string;
  readonly files: readonly RowFile[];
  readonly rows: number;
}

export interface Imported {
  readonly folder: string;
  readonly rows: number;
  readonly shards: number;
}

/** Rows of a shard: the same for every import, so that inputs and outputs are cut at the same rows. */
export const IMPORT_SHARD_ROWS = 8192;
