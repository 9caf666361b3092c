import { readFileSync } from "node:fs";
import type { PenalisedKernels } from "./penalised-kernels.ts";
import type { PreselectKernels } from "./preselect-kernels.ts";

/** A byte offset in the trainer's memory. */
type Pointer = number;

/** What `assembly/` exports; see there for the meaning of each argument. */
export interface Kernels extends PenalisedKernels, PreselectKernels {
  readonly prepare: (x: Pointer, target: Pointer, centered: Pointer, bDec: Pointer, mean: Pointer, deviation: Pointer, mode: number, scale: number, b0: number, b1: number, d: number, stride: number) => void;
  readonly moments: (rows: Pointer, sums: Pointer, b0: number, b1: number, width: number, stride: number) => number;
  readonly decode: (vals: Pointer, idx: Pointer, k: number, wDec: Pointer, bDec: Pointer, target: Pointer, g: Pointer, dz: Pointer, columns: Pointer, gScale: number, b0: number, b1: number, width: number, stride: number) => number;
  readonly decodeAux: (vals: Pointer, source: Pointer, sourceRow: number, idx: Pointer, k: number, wDec: Pointer, g: Pointer, g2: Pointer, dz: Pointer, inverseScale: number, auxScale: number, b0: number, b1: number, width: number, stride: number) => number;
  readonly seedDecode: (vals: Pointer, idx: Pointer, k: number, wDec: Pointer, bDec: Pointer, x: Pointer, mean: Pointer, deviation: Pointer, g: Pointer, b0: number, b1: number, d: number, width: number, stride: number) => number;
  readonly seedDecodeAux: (vals: Pointer, source: Pointer, sourceRow: number, idx: Pointer, k: number, wDec: Pointer, bDec: Pointer, mean: Pointer, deviation: Pointer, g: Pointer, g2: Pointer, dz: Pointer, auxScale: number, b0: number, b1: number, d: number, width: number, stride: number) => number;
  readonly seedFinish: (vals: Pointer, idx: Pointer, k: number, wDec: Pointer, deviation: Pointer, g: Pointer, g2: Pointer, dz: Pointer, columns: Pointer, gScale: number, b0: number, b1: number, width: number, stride: number) => void;
  readonly countEntries: (vals: Pointer, idx: Pointer, n: number, counts: Pointer) => number;
  readonly ageLatents: (counts: Pointer, since: Pointer, next: Pointer, whenFired: number, increment: number, threshold: number, dead: Pointer, h: number) => number;
  readonly placeLatents: (counts: Pointer, offsets: Pointer, h: number) => number;
  readonly placeEntries: (vals: Pointer, idx: Pointer, dz: Pointer, rows: number, k: number, g: Pointer, centered: Pointer, stride: number, cursor: Pointer, entries: Pointer) => void;
  readonly gradients: (offsets: Pointer, entries: Pointer, wEnc: Pointer, wDec: Pointer, gEnc: Pointer, gDec: Pointer, touched: Pointer, bDecColumns: Pointer, project: number, f0: number, f1: number, d: number, width: number, stride: number) => number;
  readonly adam: (wEnc: Pointer, wDec: Pointer, gEnc: Pointer, gDec: Pointer, mEnc: Pointer, vEnc: Pointer, mDec: Pointer, vDec: Pointer, touched: Pointer, zeroRow: Pointer, denseDecoder: number, unitRows: number, clip: number, beta1: number, rest1: number, beta2: number, rest2: number, step: number, unbias2: number, epsilon: number, decay: number, f0: number, f1: number, stride: number) => void;
  readonly adamVector: (p: Pointer, gradient: Pointer, m: Pointer, v: Pointer, clip: number, beta1: number, rest1: number, beta2: number, rest2: number, step: number, unbias2: number, epsilon: number, decay: number, bytes: number) => void;
  readonly signum: (wEnc: Pointer, wDec: Pointer, gEnc: Pointer, gDec: Pointer, zEnc: Pointer, xEnc: Pointer, zDec: Pointer, xDec: Pointer, touched: Pointer, zeroRow: Pointer, denseDecoder: number, unitRows: number, lr: number, decay: number, share: number, rest: number, f0: number, f1: number, stride: number) => void;
  readonly signumVector: (p: Pointer, gradient: Pointer, z: Pointer, x: Pointer, lr: number, decay: number, share: number, rest: number, bytes: number) => void;
  readonly columnSquares: (w: Pointer, sums: Pointer, f0: number, f1: number, stride: number) => void;
  readonly divideColumns: (w: Pointer, g: Pointer, touched: Pointer, norms: Pointer, sums: Pointer, f0: number, f1: number, stride: number) => void;
  readonly projectColumns: (w: Pointer, gDec: Pointer, gEnc: Pointer, touched: Pointer, along: Pointer, f0: number, f1: number, stride: number) => number;
  readonly preparePairs: (x: Pointer, target: Pointer, centered: Pointer, inputScale: number, outputScale: number, b0: number, b1: number, d: number, dOut: number, stride: number, pairStride: number) => void;
  readonly boundRows: (vals: Pointer, source: Pointer, sourceRow: number, idx: Pointer, k: number, bounds: Pointer, b0: number, b1: number) => void;
  readonly decodeRows: (vals: Pointer, idx: Pointer, bounds: Pointer, wDec: Pointer, bDec: Pointer, target: Pointer, g: Pointer, dz: Pointer, columns: Pointer, gScale: number, b0: number, b1: number, width: number, stride: number) => number;
  readonly decodeNested: (vals: Pointer, idx: Pointer, bounds: Pointer, widths: Pointer, levels: number, wDec: Pointer, bDec: Pointer, target: Pointer, g: Pointer, levelBytes: number, dz: Pointer, columns: Pointer, outerColumns: Pointer, squares: Pointer, gScale: number, b0: number, b1: number, width: number, stride: number) => void;
  readonly decodeRowsAux: (vals: Pointer, idx: Pointer, bounds: Pointer, wDec: Pointer, g: Pointer, g2: Pointer, dz: Pointer, inverseScale: number, auxScale: number, b0: number, b1: number, width: number, stride: number) => number;
  readonly countRows: (idx: Pointer, bounds: Pointer, rows: number, counts: Pointer) => number;
  readonly placeRows: (vals: Pointer, idx: Pointer, dz: Pointer, bounds: Pointer, rows: number, widths: Pointer, levels: number, g: Pointer, levelBytes: number, centered: Pointer, stride: number, cursor: Pointer, entries: Pointer) => void;
  readonly countAbove: (pre: Pointer, batch: number, h: number, tile: number, bound: number, counts: Pointer, b0: number, b1: number) => number;
  readonly collectAbove: (pre: Pointer, batch: number, h: number, tile: number, bound: number, bounds: Pointer, ties: Pointer, vals: Pointer, idx: Pointer, b0: number, b1: number) => void;
  readonly histogram: (values: Pointer, n: number, high: number, buckets: Pointer) => void;
  readonly histogramRows: (pre: Pointer, batch: number, h: number, tile: number, high: number, buckets: Pointer, b0: number, b1: number) => void;
  readonly trimRows: (vals: Pointer, idx: Pointer, bounds: Pointer, bound: number, ties: number, rows: number) => number;
  readonly widenF32: (source: Pointer, list: Pointer, n: number, out: Pointer, d: number, stride: number) => void;
  readonly widenBf16: (source: Pointer, list: Pointer, n: number, out: Pointer, d: number, stride: number) => void;
  readonly widenF16: (source: Pointer, list: Pointer, n: number, out: Pointer, d: number, stride: number) => void;
}

const wasmUrl = new URL("../../gen/kernels.wasm", import.meta.url);

/** Compiles the kernels. Throws when they were not generated. */
export function compileKernels(): WebAssembly.Module {
  let bytes: Buffer<ArrayBuffer>;
  try {
    bytes = readFileSync(wasmUrl);
  } catch (error) {
    throw new Error(`the training kernels are missing at ${wasmUrl.pathname}; run \`npm run generate\``, { cause: error });
  }
  return new WebAssembly.Module(bytes);
}

/** The kernels over `memory`, for the calling thread. */
export function instantiateKernels(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const instance = new WebAssembly.Instance(module, { env: { memory, abort: aborted } });
  return instance.exports as unknown as Kernels;
}

function aborted(): never {
  throw new Error("a training kernel aborted");
}
