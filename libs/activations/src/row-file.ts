import { FsBlobStore, type BlobStore } from "@mistral-sae/blobs";
import { DTYPE_BYTES, type FloatDType } from "@mistral-sae/tensor";

/** Where a store is, in a form that worker threads can be told. */
export interface StoreAddress {
  readonly kind: "fs";
  readonly root: string;
}

export function openStore(address: StoreAddress): BlobStore {
  return new FsBlobStore(address.root);
}

/** Rows of activations that lie side by side in one blob: [rows, width], row-major, little-endian. */
export interface RowFile {
  readonly store: StoreAddress;
  readonly key: string;
  /** First byte of the rows. */
  readonly byteOffset: number;
  readonly rows: number;
  /** Values of a row, d_in. */
  readonly width: number;
  readonly dtype: FloatDType;
  /** Hex SHA-256 of the rows' bytes; checked when they are loaded, where there is one. */
  readonly sha256?: string | undefined;
}

/** Bytes of the rows. */
export function rowBytes(file: Pick<RowFile, "rows" | "width" | "dtype">): number {
  return file.rows * file.width * DTYPE_BYTES[file.dtype];
}
