/** What a store knows of one blob. */
export interface BlobInfo {
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  readonly modified: Date;
}

/** Bytes [start, start + length) of a blob. */
export interface ByteRange {
  readonly start: number;
  readonly length: number;
}

/** What is put: a whole array, or a stream of pieces that the store reads to the end. */
export type BlobSource = Uint8Array | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

export interface BlobCallOptions {
  readonly signal?: AbortSignal;
}

/**
 * Named, immutable-once-written byte strings. Keys are relative paths with `/` between segments; a segment is
 * neither empty, `.` nor `..`. A reader sees a blob whole or not at all, at any instant, after kill -9 too.
 */
export interface BlobStore {
  /**
   * Reads a range into memory that the caller owns.
   * @returns Bytes read: `range.length`.
   * @throws InputError when the blob is missing, or shorter than the range wants.
   */
  get(key: string, range: ByteRange, into: Uint8Array, options?: BlobCallOptions): Promise<number>;
  /** Writes a blob, replacing one of the same key in one step. A source that throws leaves nothing behind. */
  put(key: string, source: BlobSource, options?: BlobCallOptions): Promise<BlobInfo>;
  /** Writes a blob unless the key is taken. @returns Whether it was written. */
  putIfAbsent(key: string, source: BlobSource, options?: BlobCallOptions): Promise<boolean>;
  /** @returns Undefined when there is no such blob. */
  head(key: string): Promise<BlobInfo | undefined>;
  /** Lists the blobs whose key starts with `prefix`, in ascending order of their keys. */
  list(prefix?: string): AsyncIterable<BlobInfo>;
  /** Removes a blob; removing a missing one is no error. */
  delete(key: string): Promise<void>;
  /** Removes what killed writers left below a prefix that nobody is writing to. */
  removeUnfinished(prefix: string): Promise<void>;
}
