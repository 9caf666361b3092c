/** How a matrix is cut and stored: what onnxruntime's MatMulNBits reads. */
export interface BlockFormat {
  readonly bits: QuantisedBits;
  /** Values along a row that share a scale; a power of two from 16. */
  readonly blockSize: number;
}

export type QuantisedBits = 4 | 8;

/** Blocks of a row of `k` values; the last one is filled up with zeros. */
export function blocksOfRow(k: number, blockSize: number): number {
  return Math.ceil(k / blockSize);
}

/** Bytes of the quantised values of one row. */
export function bytesOfRow(k: number, { bits, blockSize }: BlockFormat): number {
  return blocksOfRow(k, blockSize) * blockSize * (bits / 8);
}
