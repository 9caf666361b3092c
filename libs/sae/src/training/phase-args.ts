import type { Kernels } from "./kernels.ts";
import type { TrainerLayout } from "./layout.ts";

/** Places of the numbers that change from step to step, in the array that all threads share. */
export const Arg = {
  slot: 0, target: 1, mode: 2, inputScale: 3, gScale: 4, inverseScale: 5, auxScale: 6, auxK: 7, auxSource: 8, auxSourceRow: 9, hasAux: 10, unitRows: 11,
  clip: 12, beta1: 13, rest1: 14, beta2: 15, rest2: 16, step: 17, unbias2: 18, epsilon: 19, decay: 20, share: 21, k: 22, bound: 23, ties: 24, high: 25, tileStart: 26, tileEnd: 27, preAct: 28, since: 29, deadRows: 30, denseDecoder: 31, outputScale: 32, scoreUnit: 33, deadCount: 34,
} as const;
export const argCount = 35;

/** How `prepare` scales rows. */
export const InputMode = { none: 0, scale: 1, layer_norm: 2, constant_norm_rescale: 3 } as const;

/** What a thread needs for its part of any phase. */
export interface Share {
  readonly kernels: Kernels;
  readonly layout: TrainerLayout;
  readonly memory: WebAssembly.Memory;
  readonly args: Float64Array;
  readonly thread: number;
}

/** A share with its bounds; they depend on the number of threads alone. */
export interface Part extends Share {
  /** Rows of the batch. */
  readonly b0: number;
  readonly b1: number;
  /** Latents. */
  readonly f0: number;
  readonly f1: number;
  /** The thread's own rows of sums: f32, f32 and f64. */
  readonly columns: number;
  readonly bDecColumns: number;
  readonly sums: number;
  readonly a: (index: number) => number;
  readonly zero: (offset: number, bytes: number) => void;
}
