/** Bytes of a tile that stay in the cache between the product that writes them and the kernels that read them. */
const tileBytes = 2 << 20;
/** Latents by which tiles grow: whole blocks of the product's kernels. */
const tileStep = 64;

/** Latents of every tile but the last. */
export function tileWidth(batch: number, h: number): number {
  const width = Math.floor(tileBytes / (batch * 4 * tileStep)) * tileStep;
  return Math.min(h, Math.max(tileStep, width));
}

/** Bytes of a thread's histogram of 16 bits: see BatchSelector. */
export const histogramBytes = 4 << 16;
