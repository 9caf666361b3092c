import type { Kernels } from "./kernels.ts";
import type { TrainerLayout } from "./layout.ts";

/** Work that all threads do together, each on its share. */
export const Phase = { prepare: 1, decode: 2, decodeAux: 3, seedDecode: 4, seedDecodeAux: 5, seedFinish: 6, gradients: 7, adam: 8, columnSquares: 9, divideColumns: 10, projectColumns: 11 } as const;
export type Phase = (typeof Phase)[keyof typeof Phase];

/** Places of the numbers that change from step to step, in the array that all threads share. */
export const Arg = {
  slot: 0, target: 1, mode: 2, inputScale: 3, gScale: 4, inverseScale: 5, auxScale: 6, auxK: 7, auxSource: 8, auxSourceRow: 9, hasAux: 10, unitRows: 11,
  clip: 12, beta1: 13, rest1: 14, beta2: 15, rest2: 16, step: 17, unbias2: 18, epsilon: 19, decay: 20,
} as const;
export const argCount = 21;

/** How `prepare` scales rows. */
export const InputMode = { none: 0, scale: 1, layer_norm: 2, constant_norm_rescale: 3 } as const;

/** Does one thread's share of a phase; returns its part of the phase's sum. The split depends on the number of threads alone. */
export function runPhase(phase: Phase, kernels: Kernels, layout: TrainerLayout, memory: WebAssembly.Memory, args: Float64Array, thread: number): number {
  const { at, d, h, k, batch, threads, stride, width } = layout;
  const a = (index: number): number => args[index]!;
  const b0 = Math.floor((batch * thread) / threads);
  const b1 = Math.floor((batch * (thread + 1)) / threads);
  const f0 = Math.floor((h * thread) / threads);
  const f1 = Math.floor((h * (thread + 1)) / threads);
  const columns = at.columns + thread * stride;
  const bDecColumns = at.bDecColumns + thread * stride;
  const sums = at.sums + thread * stride * 2;
  const zero = (offset: number, bytes: number): void => void new Uint8Array(memory.buffer, offset, bytes).fill(0);
  switch (phase) {
    case Phase.prepare: {
      kernels.prepare(a(Arg.slot), at.target, at.centered, at.bDec, at.mean, at.deviation, a(Arg.mode), a(Arg.inputScale), b0, b1, d, stride);
      zero(sums, stride * 2);
      return kernels.moments(a(Arg.target), sums, b0, b1, width, stride);
    }
    case Phase.decode:
      zero(columns, stride);
      return kernels.decode(at.vals, at.idx, k, at.wDec, at.bDec, a(Arg.target), at.g, at.dz, columns, a(Arg.gScale), b0, b1, width, stride);
    case Phase.decodeAux:
      return kernels.decodeAux(at.auxVals, a(Arg.auxSource), a(Arg.auxSourceRow), at.auxIdx, a(Arg.auxK), at.wDec, at.g, at.g2, at.auxDz, a(Arg.inverseScale), a(Arg.auxScale), b0, b1, width, stride);
    case Phase.seedDecode:
      return kernels.seedDecode(at.vals, at.idx, k, at.wDec, at.bDec, a(Arg.slot), at.mean, at.deviation, at.g, b0, b1, d, width, stride);
    case Phase.seedDecodeAux:
      return kernels.seedDecodeAux(at.auxVals, a(Arg.auxSource), a(Arg.auxSourceRow), at.auxIdx, a(Arg.auxK), at.wDec, at.bDec, at.mean, at.deviation, at.g, at.g2, at.auxDz, a(Arg.auxScale), b0, b1, d, width, stride);
    case Phase.seedFinish:
      zero(columns, stride);
      kernels.seedFinish(at.vals, at.idx, k, at.wDec, at.deviation, at.g, a(Arg.hasAux) === 0 ? 0 : at.g2, at.dz, columns, a(Arg.gScale), b0, b1, width, stride);
      return 0;
    case Phase.gradients: {
      zero(bDecColumns, stride);
      const offsets = new Uint32Array(memory.buffer, at.offsets, h + 1);
      const [g0, g1] = [latentAt(offsets, thread, threads), latentAt(offsets, thread + 1, threads)];
      return kernels.gradients(at.offsets, at.entries, at.wEnc, at.wDec, at.gEnc, at.gDec, at.touched, bDecColumns, a(Arg.unitRows), g0, g1, d, width, stride);
    }
    case Phase.adam:
      kernels.adam(at.wEnc, at.wDec, at.gEnc, at.gDec, at.mEnc, at.vEnc, at.mDec, at.vDec, at.touched, at.zeroRow, a(Arg.unitRows) === 0 ? 1 : 0, a(Arg.unitRows), a(Arg.clip), a(Arg.beta1), a(Arg.rest1), a(Arg.beta2), a(Arg.rest2), a(Arg.step), a(Arg.unbias2), a(Arg.epsilon), a(Arg.decay), f0, f1, stride);
      return 0;
    case Phase.columnSquares:
      zero(sums, stride * 2);
      kernels.columnSquares(at.wDec, sums, f0, f1, stride);
      return 0;
    case Phase.divideColumns:
      zero(sums, stride * 2);
      kernels.divideColumns(at.wDec, at.gDec, at.touched, at.norms, sums, f0, f1, stride);
      return 0;
    case Phase.projectColumns:
      return kernels.projectColumns(at.wDec, at.gDec, at.gEnc, at.touched, at.along, f0, f1, stride);
  }
}

/** First latent of a thread's share, so that all shares have about as many entries. */
function latentAt(offsets: Uint32Array, thread: number, threads: number): number {
  const h = offsets.length - 1;
  if (thread === 0) return 0;
  if (thread === threads) return h;
  const wanted = (offsets[h]! * thread) / threads;
  let [low, high] = [0, h];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offsets[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
