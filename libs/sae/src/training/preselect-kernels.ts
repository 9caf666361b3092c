/** A byte offset in the trainer's memory. */
type Pointer = number;

/** What `assembly/preselect.ts` and `assembly/top.ts` export; see there for the meaning of each argument. */
export interface PreselectKernels {
  readonly quantizeInputs: (centered: Pointer, out: Pointer, bounds: Pointer, b0: number, b1: number, stride: number) => number;
  readonly quantizeLatents: (wEnc: Pointer, out: Pointer, scales: Pointer, tileBounds: Pointer, scratch: Pointer, t0: number, t1: number, h: number, stride: number) => number;
  readonly beginRows: (state: Pointer, histograms: Pointer, b0: number, b1: number) => void;
  readonly scanTile: (scores: Pointer, width: number, t: number, k: number, bounds: Pointer, tileBounds: Pointer, unit: number, state: Pointer, histograms: Pointer, lists: Pointer, capacity: number, b0: number, b1: number) => void;
  readonly finishRows: (centered: Pointer, wEnc: Pointer, k: number, bounds: Pointer, tileBounds: Pointer, tiles: number, unit: number, state: Pointer, lists: Pointer, capacity: number, scratch: Pointer, vals: Pointer, idx: Pointer, failed: Pointer, b0: number, b1: number, stride: number) => number;
  readonly topPositive: (pre: Pointer, names: Pointer, n: number, k: number, vals: Pointer, idx: Pointer, scratch: Pointer, b0: number, b1: number) => void;
}
