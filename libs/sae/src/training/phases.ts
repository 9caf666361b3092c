import { entryShare } from "./entry-share.ts";
import { Arg, type Part, type Share } from "./phase-args.ts";
import { penalisedPhases } from "./penalised-phases.ts";
import { selectedPhases } from "./selected-phases.ts";
import { streamGradients, updateLatents } from "./streamed-phases.ts";

export { Arg, argCount, InputMode, type Part, type Share } from "./phase-args.ts";

/** Work that all threads do together. Each returns its part of the phase's sum. */
const phases = {
  ...selectedPhases,
  ...penalisedPhases,
  prepare({ kernels, layout: { at, d, stride, width }, a, zero, b0, b1, sums }: Part): number {
    kernels.prepare(a(Arg.slot), at.target, at.centered, at.bDec, at.mean, at.deviation, a(Arg.mode), a(Arg.inputScale), b0, b1, d, stride);
    zero(sums, stride * 2);
    return kernels.moments(a(Arg.target), sums, b0, b1, width, stride);
  },
  quantize({ kernels, layout: { at, h, stride, threads, preselect }, thread, b0, b1 }: Part): number {
    const { tiles, scratchBytes } = preselect!;
    kernels.quantizeInputs(at.centered, at.inputBytes, at.inputBounds, b0, b1, stride);
    const share = (part: number): number => Math.floor((tiles * part) / threads);
    return kernels.quantizeLatents(at.wEnc, at.latentBytes, at.latentScales, at.tileBounds, at.preselectScratch + thread * scratchBytes, share(thread), share(thread + 1), h, stride);
  },
  decode({ kernels, layout: { at, stride, width }, a, zero, b0, b1, columns }: Part): number {
    zero(columns, stride);
    return kernels.decode(at.vals, at.idx, a(Arg.k), at.wDec, at.bDec, a(Arg.target), at.g, at.dz, columns, a(Arg.gScale), b0, b1, width, stride);
  },
  decodeAux({ kernels, layout: { at, outer, stride, width }, a, b0, b1 }: Part): number {
    return kernels.decodeAux(at.auxVals, a(Arg.auxSource), a(Arg.auxSourceRow), at.auxIdx, a(Arg.auxK), at.wDec, outer, at.g2, at.auxDz, a(Arg.inverseScale), a(Arg.auxScale), b0, b1, width, stride);
  },
  seedDecode({ kernels, layout: { at, d, k, stride, width }, a, b0, b1 }: Part): number {
    return kernels.seedDecode(at.vals, at.idx, k, at.wDec, at.bDec, a(Arg.slot), at.mean, at.deviation, at.g, b0, b1, d, width, stride);
  },
  seedDecodeAux({ kernels, layout: { at, d, stride, width }, a, b0, b1 }: Part): number {
    return kernels.seedDecodeAux(at.auxVals, a(Arg.auxSource), a(Arg.auxSourceRow), at.auxIdx, a(Arg.auxK), at.wDec, at.bDec, at.mean, at.deviation, at.g, at.g2, at.auxDz, a(Arg.auxScale), b0, b1, d, width, stride);
  },
  seedFinish({ kernels, layout: { at, k, stride, width }, a, zero, b0, b1, columns }: Part): number {
    zero(columns, stride);
    kernels.seedFinish(at.vals, at.idx, k, at.wDec, at.deviation, at.g, a(Arg.hasAux) === 0 ? 0 : at.g2, at.dz, columns, a(Arg.gScale), b0, b1, width, stride);
    return 0;
  },
  gradients(part: Part): number {
    const { kernels, layout: { at, d, stride, width, storesGradients }, a, zero, bDecColumns } = part;
    zero(bDecColumns, stride);
    const [first, end] = entryShare(part);
    if (!storesGradients) return streamGradients(part, first, end);
    return kernels.gradients(at.offsets, at.entries, at.wEnc, at.wDec, at.gEnc, at.gDec, at.touched, bDecColumns, a(Arg.unitRows), first, end, d, width, stride);
  },
  adam(part: Part): number {
    const { kernels, layout: { at, stride }, a } = part;
    const unitRows = a(Arg.unitRows);
    const step = (gEnc: number, gDec: number, f0: number, f1: number): void =>
      kernels.adam(at.wEnc, at.wDec, gEnc, gDec, at.mEnc, at.vEnc, at.mDec, at.vDec, at.touched, at.zeroRow, a(Arg.denseDecoder), unitRows, a(Arg.clip), a(Arg.beta1), a(Arg.rest1), a(Arg.beta2), a(Arg.rest2), a(Arg.step), a(Arg.unbias2), a(Arg.epsilon), a(Arg.decay), f0, f1, stride);
    return updateLatents(part, step);
  },
  signum(part: Part): number {
    const { kernels, layout: { at, stride }, a } = part;
    const unitRows = a(Arg.unitRows);
    const step = (gEnc: number, gDec: number, f0: number, f1: number): void =>
      kernels.signum(at.wEnc, at.wDec, gEnc, gDec, at.mEnc, at.vEnc, at.mDec, at.vDec, at.touched, at.zeroRow, a(Arg.denseDecoder), unitRows, a(Arg.step), a(Arg.decay), a(Arg.share), a(Arg.rest1), f0, f1, stride);
    return updateLatents(part, step);
  },
  columnSquares({ kernels, layout: { at, stride }, zero, f0, f1, sums }: Part): number {
    zero(sums, stride * 2);
    kernels.columnSquares(at.wDec, sums, f0, f1, stride);
    return 0;
  },
  divideColumns({ kernels, layout: { at, stride }, zero, f0, f1, sums }: Part): number {
    zero(sums, stride * 2);
    kernels.divideColumns(at.wDec, at.gDec, at.touched, at.norms, sums, f0, f1, stride);
    return 0;
  },
  projectColumns({ kernels, layout: { at, stride }, f0, f1 }: Part): number {
    return kernels.projectColumns(at.wDec, at.gDec, at.gEnc, at.touched, at.along, f0, f1, stride);
  },
} as const;

export type PhaseName = keyof typeof phases;

/** Phases by the number that threads tell each other, from 1. */
export const phaseNames = Object.keys(phases) as readonly PhaseName[];

/** Does one thread's share of a phase; returns its part of the phase's sum. */
export function runPhase(name: PhaseName, share: Share): number {
  const { layout, memory, args, thread } = share;
  const { at, h, batch, threads, stride } = layout;
  return phases[name]({
    ...share,
    b0: Math.floor((batch * thread) / threads),
    b1: Math.floor((batch * (thread + 1)) / threads),
    f0: Math.floor((h * thread) / threads),
    f1: Math.floor((h * (thread + 1)) / threads),
    columns: at.columns + thread * stride,
    bDecColumns: at.bDecColumns + thread * stride,
    sums: at.sums + thread * stride * 2,
    a: (index) => args[index]!,
    zero: (offset, bytes) => void new Uint8Array(memory.buffer, offset, bytes).fill(0),
  });
}
