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

/**
 * Quantises rows [rows, k] of f32 to `values` (uint8 [rows, blocks, blockSize · bits / 8]) and `scales` (f32 [rows, blocks]).
 * A value is (q − 2^(bits−1)) · scale; of two values in a byte the first has the low four bits. Returns the first row
 * that holds a value that is not finite, or −1.
 */
export function quantiseRows(rows: Float32Array, k: number, format: BlockFormat, values: Uint8Array, scales: Float32Array): number {
  const { bits, blockSize } = format;
  const blocks = blocksOfRow(k, blockSize);
  const blockBytes = blockSize * (bits / 8);
  const block = new Float32Array(blockSize);
  const count = rows.length / k;
  for (let row = 0, at = 0; row < count; row++) {
    for (let b = 0; b < blocks; b++, at++) {
      const start = row * k + b * blockSize;
      const end = Math.min(start + blockSize, (row + 1) * k);
      if (end - start < blockSize) block.fill(0);
      for (let i = start; i < end; i++) block[i - start] = rows[i]!;
      const peak = signedPeak(block);
      if (!Number.isFinite(peak)) return row;
      scales[at] = bits === 8 ? quantiseBlock8(block, peak, values, at * blockBytes) : quantiseBlock4(block, peak, values, at * blockBytes);
    }
  }
  return -1;
}

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

/** The value furthest from zero; NaN when there is one. */
function signedPeak(block: Float32Array): number {
  let peak = 0;
  let largest = 0;
  for (let i = 0; i < block.length; i++) {
    const value = block[i]!;
    const size = Math.abs(value);
    if (!(size <= largest)) {
      largest = size;
      peak = value;
      if (size !== size) return size;
    }
  }
  return peak;
}

function quantiseBlock8(block: Float32Array, peak: number, values: Uint8Array, at: number): number {
  const scale = Math.fround(Math.abs(peak) / 127);
  const inverse = scale > 0 ? 1 / scale : 0;
  for (let i = 0; i < block.length; i++) values[at + i] = Math.min(255, (block[i]! * inverse + 128.5) | 0);
  return scale;
}

/** What the peak is divided into while the best scale is sought: it lies at −8, or a little inside or beyond. */
const peakLevels = [-8, -7, -7.5, -8.5, -9, -6.5, 7, 7.5] as const;

/**
 * For each candidate scale the values are rounded to levels q; the best scale for those levels is Σxq / Σq², and the
 * squared error left is Σx² − (Σxq)² / Σq². The candidate with the least error wins.
 */
function quantiseBlock4(block: Float32Array, peak: number, values: Uint8Array, at: number): number {
  let best = 0;
  let inverse = 0;
  let scale = 0;
  if (peak !== 0) {
    for (const level of peakLevels) {
      const candidate = level / peak;
      let xq = 0;
      let qq = 0;
      for (let i = 0; i < block.length; i++) {
        const x = block[i]!;
        const q = Math.min(15, (x * candidate + 8.5) | 0) - 8;
        xq += x * q;
        qq += q * q;
      }
      const explained = (xq * xq) / qq;
      if (explained > best) {
        best = explained;
        inverse = candidate;
        scale = xq / qq;
      }
    }
  }
  for (let i = 0; i < block.length; i += 2) {
    const low = Math.min(15, (block[i]! * inverse + 8.5) | 0);
    const high = Math.min(15, (block[i + 1]! * inverse + 8.5) | 0);
    values[at + (i >> 1)] = low | (high << 4);
  }
  return scale;
}
