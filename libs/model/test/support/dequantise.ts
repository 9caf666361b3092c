import { blocksOfRow, type BlockFormat } from "../../src/quantisation/blocks.ts";

/** f32 values [rows, k] of quantised rows. */
export function dequantiseRows(values: Uint8Array, scales: Float32Array, k: number, { bits, blockSize }: BlockFormat): Float32Array {
  const blocks = blocksOfRow(k, blockSize);
  const rows = scales.length / blocks;
  const out = new Float32Array(rows * k);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < k; i++) {
      const at = row * blocks * blockSize + i;
      const q = bits === 8 ? values[at]! - 128 : ((values[at >> 1]! >> ((at & 1) * 4)) & 15) - 8;
      out[row * k + i] = q * scales[row * blocks + Math.floor(i / blockSize)]!;
    }
  }
  return out;
}
