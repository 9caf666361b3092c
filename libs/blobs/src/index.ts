export type { BlobCallOptions, BlobInfo, BlobSource, BlobStore, ByteRange } from "./blob-store.ts";
export { FsBlobStore } from "./fs-blob-store.ts";
