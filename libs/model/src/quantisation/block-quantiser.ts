import { readFileSync } from "node:fs";
import { DTYPE_BYTES } from "@mistral-sae/tensor";
import { blocksOfRow, bytesOfRow, type BlockFormat } from "./blocks.ts";

/** The types that weights are quantised from. */
export type SourceDType = "F32" | "F16" | "BF16";

/** What `assembly/` exports. */
interface Kernels {
  readonly memory: WebAssembly.Memory;
  readonly quantise: (source: number, type: number, n: number, k: number, dHead: number, bits: number, blockSize: number, levels: number, levelCount: number, row: number, values: number, scales: number) => number;
}

const wasmUrl = new URL("../../gen/quantise.wasm", import.meta.url);
const pageBytes = 1 << 16;
const typeNumbers: Readonly<Record<SourceDType, number>> = { F32: 0, F16: 1, BF16: 2 };

/** What the peak of a block of four bits is brought to while the best scale is sought, either way round. */
const peakLevels = Float32Array.of(-8, -7, -7.25, -7.5, -7.75, -8.25, -8.5, -8.75, -9, -9.5, -6.5, 6.5, 6.75, 7, 7.25, 7.5);

/** Rows [n, k] as they are stored. */
export interface StoredRows {
  readonly dtype: SourceDType;
  readonly n: number;
  readonly k: number;
  /** Rows of a head that come as pairs [dHead / 2, 2], to leave as [2, dHead / 2]; 0 leaves the order alone. */
  readonly interleaved?: number;
}

/** Rows of a matrix in blocks. The arrays are views that the next call overwrites. */
export interface QuantisedRows {
  /** [n, blocks, blockSize · bits / 8]; of two values in a byte the first has the low four bits. */
  readonly values: Uint8Array;
  /** [n, blocks]; a value is (q − 2^(bits−1)) · scale. */
  readonly scales: Float32Array;
  /** First row that holds a value that is not finite, or −1. */
  readonly badRow: number;
}

/** Quantises rows of weights, in memory of its own that grows with the largest piece. */
export class BlockQuantiser {
  readonly #kernels: Kernels;

  /** Throws when the kernel was not generated. */
  constructor() {
    let bytes: Buffer<ArrayBuffer>;
    try {
      bytes = readFileSync(wasmUrl);
    } catch (error) {
      throw new Error(`the quantising kernel is missing at ${wasmUrl.pathname}; run \`npm run generate\``, { cause: error });
    }
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { abort: aborted } });
    this.#kernels = instance.exports as unknown as Kernels;
  }

  /** `fill` is given the place for the rows' bytes. */
  quantise(rows: StoredRows, format: BlockFormat, fill: (bytes: Uint8Array) => void): QuantisedRows {
    const { dtype, n, k, interleaved = 0 } = rows;
    const { memory, quantise } = this.#kernels;
    const blocks = blocksOfRow(k, format.blockSize);
    let end = pageBytes;
    const place = (bytes: number): number => {
      const start = end;
      end = Math.ceil((end + bytes) / 64) * 64;
      return start;
    };
    const levels = place(peakLevels.byteLength);
    const row = place(blocks * format.blockSize * 4);
    const source = place(n * k * DTYPE_BYTES[dtype]);
    const values = place(n * bytesOfRow(k, format));
    const scales = place(n * blocks * 4);
    if (end > memory.buffer.byteLength) memory.grow(Math.ceil((end - memory.buffer.byteLength) / pageBytes));
    new Float32Array(memory.buffer, levels).set(peakLevels);
    fill(new Uint8Array(memory.buffer, source, n * k * DTYPE_BYTES[dtype]));
    const badRow = quantise(source, typeNumbers[dtype], n, k, interleaved, format.bits, format.blockSize, levels, peakLevels.length, row, values, scales);
    return { values: new Uint8Array(memory.buffer, values, n * bytesOfRow(k, format)), scales: new Float32Array(memory.buffer, scales, n * blocks), badRow };
  }
}

function aborted(): never {
  throw new Error("the quantising kernel aborted");
}
