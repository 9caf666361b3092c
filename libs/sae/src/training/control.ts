import { argCount } from "./phases.ts";

/** Int32 places at the start of the control block. */
export const Signal = { sequence: 0, pending: 1, phase: 2, failed: 3 } as const;

/** Phase number that ends the kernel threads. */
export const stopPhase = 0;

/** Phase numbers of a {@link ScoreThread} and a {@link DeadThread}, whose parts are asynchronous. */
export const scorePhase = -1;
export const deadPhase = -2;

const argsAt = 64;
const resultsAt = argsAt + argCount * 8;

/** What the threads of a team share besides the memory: signals, the arguments of a phase and each thread's result. */
export interface Control {
  readonly buffer: SharedArrayBuffer;
  readonly signals: Int32Array<SharedArrayBuffer>;
  readonly args: Float64Array<SharedArrayBuffer>;
  readonly results: Float64Array<SharedArrayBuffer>;
}

export function controlOf(threads: number, buffer = new SharedArrayBuffer(resultsAt + threads * 8)): Control {
  return {
    buffer,
    signals: new Int32Array(buffer, 0, argsAt / 4),
    args: new Float64Array(buffer, argsAt, argCount),
    results: new Float64Array(buffer, resultsAt, threads),
  };
}
