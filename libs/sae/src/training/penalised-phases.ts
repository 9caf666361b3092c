import { entryShare } from "./entry-share.ts";
import { Arg, type Part } from "./phase-args.ts";

/** A thread's share of the latents of the tile that is computed now. */
function shareOfTile({ a, thread, layout: { threads } }: Part): readonly [number, number] {
  const first = a(Arg.tileStart);
  const latents = a(Arg.tileEnd) - first;
  return [first + Math.floor((latents * thread) / threads), first + Math.floor((latents * (thread + 1)) / threads)];
}

/** Work of penalised architectures that all threads do together: see the kernels in assembly/penal-*.ts. */
export const penalisedPhases = {
  penalScan({ kernels, layout: { at, penalised, batch, d, width, stride }, thread, f0, f1 }: Part): number {
    return kernels.penalScan(at.penalty, at.pre, at.wEnc, at.wDec, at.latent, penalised!.span, at.decoderNorms, at.counts, at.rowCursors + thread * batch * 4, f0, f1, batch, d, width, stride);
  },
  penalPlace({ kernels, layout: { at, penalised, batch, d, stride }, thread, f0, f1 }: Part): number {
    return kernels.penalPlace(at.penalty, at.pre, at.wEnc, at.latent, penalised!.span, at.decoderNorms, at.offsets, at.list, at.rowCursors + thread * batch * 4, at.rowVals, at.rowGates, at.rowIdx, at.counts, at.rowPowers + thread * batch * 8, f0, f1, batch, d, stride);
  },
  penalRows({ kernels, layout: { at, penalised, batch, stride, width }, b0, b1 }: Part): number {
    kernels.penalRows(at.rowVals, at.rowIdx, at.rowStarts, at.wDec, at.g, b0, b1, width, stride);
    if (penalised!.gated) kernels.penalRows(at.rowGates, at.rowIdx, at.rowStarts, at.wDec, at.g + batch * stride, b0, b1, width, stride);
    return 0;
  },
  penalDense(part: Part): number {
    const { kernels, layout: { at, penalised, batch, d, stride }, thread, a } = part;
    const [f0, f1] = shareOfTile(part);
    return kernels.penalDense(at.penalty, at.pre, at.wEnc, at.latent, penalised!.span, at.decoderNorms, at.codes, penalised!.codeRow, a(Arg.tileStart), at.counts, at.rowPowers + thread * batch * 8, f0, f1, batch, d, stride);
  },
  penalAdd({ kernels, layout: { at, penalised, batch, stride, width }, b0, b1 }: Part): number {
    kernels.penalAdd(at.partial, at.g, b0, b1, width, stride);
    if (penalised!.gated) kernels.penalAdd(at.partial, at.g, b0 + batch, b1 + batch, width, stride);
    return 0;
  },
  penalErrors({ kernels, layout: { at, stride, width }, a, zero, b0, b1, columns }: Part): number {
    zero(columns, stride);
    return kernels.penalErrors(at.g, at.bDec, a(Arg.target), columns, a(Arg.gScale), b0, b1, width, stride);
  },
  penalGateErrors({ kernels, layout: { at, batch, stride, width }, a, b0, b1, columns }: Part): number {
    return kernels.penalErrors(at.g + batch * stride, at.bDec, a(Arg.target), columns, a(Arg.gScale), b0, b1, width, stride);
  },
  penalLatents(part: Part): number {
    const { kernels, layout: { at, penalised, batch, d, stride, width }, thread } = part;
    const [first, end] = entryShare(part);
    kernels.penalLatents(at.penalty, at.offsets, at.list, at.scratch + thread * batch * 16, at.g, at.g + batch * stride, at.centered, at.wEnc, at.wDec, at.latent, at.gLatent, penalised!.span, at.decoderNorms, at.gNorms, at.gGates, at.rowFactors, at.gEnc, at.gDec, at.touched, first, end, d, width, stride);
    return 0;
  },
  penalSlopes(part: Part): number {
    const { kernels, layout: { at, penalised, batch, d, stride }, a } = part;
    const [f0, f1] = shareOfTile(part);
    kernels.penalSlopes(at.penalty, at.pre, at.codes, at.slopes, penalised!.codeRow, a(Arg.tileStart), at.wEnc, at.latent, at.gLatent, penalised!.span, at.decoderNorms, at.gNorms, at.gGates, at.rowFactors, at.touched, f0, f1, batch, d, stride);
    return 0;
  },
  penalFinish({ kernels, layout: { at, penalised, batch, d, stride, width }, a, zero, thread, f0, f1, bDecColumns }: Part): number {
    const { vectors, span, gated } = penalised!;
    const loss = at.deadLosses + thread * 8;
    zero(bDecColumns, stride);
    zero(loss, 8);
    return kernels.penalFinish(at.wEnc, at.wDec, at.gEnc, at.gDec, at.touched, at.latent, at.gLatent, span, vectors.length, at.decoderNorms, at.gNorms, at.gGates, gated ? 1 : 0, a(Arg.preAct), a(Arg.since), a(Arg.deadRows), at.inputSum, loss, batch, bDecColumns, f0, f1, d, width, stride);
  },
} as const;
