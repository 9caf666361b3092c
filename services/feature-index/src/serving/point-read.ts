/**
 * Settings of queries that read a few rows by their key. One thread: more would only divide a few granules. What was
 * decompressed is kept, because pages of one index read from the same blocks.
 */
export const pointRead = { max_threads: 1, use_uncompressed_cache: 1 } as const;
