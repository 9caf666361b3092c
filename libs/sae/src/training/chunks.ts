/** Rows below which splitting a batch no longer pays. */
const fewestRows = 128;
const mostChunks = 4;

/**
 * Pieces into which the encoder splits a batch, so that the pre-activations of one are still in the cache when their top k are
 * taken. Four are measured to be best at 1024 rows; it also quarters the memory for pre-activations.
 */
export function chunkCount(rows: number): number {
  return Math.max(1, Math.min(mostChunks, Math.floor(rows / fewestRows)));
}

/** Rows of the largest piece. */
export function chunkRows(rows: number): number {
  return Math.ceil(rows / chunkCount(rows));
}
