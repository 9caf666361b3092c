/** A byte offset in the trainer's memory. */
type Pointer = number;

/** What `assembly/penal-*.ts` exports; see there for the meaning of each argument. */
export interface PenalisedKernels {
  readonly penalScan: (block: Pointer, pre: Pointer, wEnc: Pointer, wDec: Pointer, vectors: Pointer, span: number, norms: Pointer, counts: Pointer, rowCounts: Pointer, f0: number, f1: number, rows: number, d: number, width: number, stride: number) => number;
  readonly penalPlace: (block: Pointer, pre: Pointer, wEnc: Pointer, vectors: Pointer, span: number, norms: Pointer, offsets: Pointer, entries: Pointer, rowCursor: Pointer, vals: Pointer, gates: Pointer, idx: Pointer, counts: Pointer, rowPowers: Pointer, f0: number, f1: number, rows: number, d: number, stride: number) => number;
  readonly penalDense: (block: Pointer, pre: Pointer, wEnc: Pointer, vectors: Pointer, span: number, norms: Pointer, codes: Pointer, codeRow: number, first: number, counts: Pointer, rowPowers: Pointer, f0: number, f1: number, rows: number, d: number, stride: number) => number;
  readonly penalRows: (vals: Pointer, idx: Pointer, starts: Pointer, wDec: Pointer, out: Pointer, b0: number, b1: number, width: number, stride: number) => void;
  readonly penalAdd: (part: Pointer, out: Pointer, b0: number, b1: number, width: number, stride: number) => void;
  readonly penalErrors: (g: Pointer, bDec: Pointer, target: Pointer, columns: Pointer, gScale: number, b0: number, b1: number, width: number, stride: number) => number;
  readonly penalLatents: (block: Pointer, offsets: Pointer, entries: Pointer, scratch: Pointer, g: Pointer, g2: Pointer, centered: Pointer, wEnc: Pointer, wDec: Pointer, vectors: Pointer, gVectors: Pointer, span: number, norms: Pointer, gNorms: Pointer, gGates: Pointer, rowFactors: Pointer, gEnc: Pointer, gDec: Pointer, touched: Pointer, f0: number, f1: number, d: number, width: number, stride: number) => void;
  readonly penalSlopes: (block: Pointer, pre: Pointer, codes: Pointer, slopes: Pointer, codeRow: number, first: number, wEnc: Pointer, vectors: Pointer, gVectors: Pointer, span: number, norms: Pointer, gNorms: Pointer, gGates: Pointer, rowFactors: Pointer, touched: Pointer, f0: number, f1: number, rows: number, d: number, stride: number) => void;
  readonly penalFinish: (wEnc: Pointer, wDec: Pointer, gEnc: Pointer, gDec: Pointer, touched: Pointer, vectors: Pointer, gVectors: Pointer, span: number, vectorCount: number, norms: Pointer, gNorms: Pointer, gGates: Pointer, isGated: number, preAct: number, since: Pointer, deadRows: number, inputSum: Pointer, deadLoss: Pointer, rows: number, bDecColumns: Pointer, f0: number, f1: number, d: number, width: number, stride: number) => number;
}
