import { histogramBytes } from "./tiles.ts";
import { Arg, type Part } from "./phase-args.ts";

/** Phases of transcoders, and of codes whose rows have any number of entries: see codes.ts. */
export const selectedPhases = {
  preparePairs({ kernels, layout: { at, d, dOut, rowStride, stride, width }, a, zero, b0, b1, sums }: Part): number {
    kernels.preparePairs(a(Arg.slot), at.target, at.centered, a(Arg.inputScale), a(Arg.outputScale), b0, b1, d, dOut, stride, rowStride);
    zero(sums, stride * 2);
    return kernels.moments(at.target, sums, b0, b1, width, stride);
  },
  countAbove({ kernels, layout: { at, batch, h, tile }, a, b0, b1 }: Part): number {
    return kernels.countAbove(at.pre, batch, h, tile, a(Arg.bound), at.rowCounts, b0, b1);
  },
  collectAbove({ kernels, layout: { at, batch, h, tile }, a, b0, b1 }: Part): number {
    kernels.collectAbove(at.pre, batch, h, tile, a(Arg.bound), at.bounds, a(Arg.ties), at.vals, at.idx, b0, b1);
    return 0;
  },
  histogramRows({ kernels, layout: { at, batch, h, tile }, a, zero, thread, b0, b1 }: Part): number {
    const buckets = at.histograms + thread * histogramBytes;
    zero(buckets, histogramBytes);
    kernels.histogramRows(at.pre, batch, h, tile, a(Arg.high), buckets, b0, b1);
    return 0;
  },
  decodeRows({ kernels, layout: { at, stride, width }, a, zero, b0, b1, columns }: Part): number {
    zero(columns, stride);
    return kernels.decodeRows(at.vals, at.idx, at.bounds, at.wDec, at.bDec, a(Arg.target), at.g, at.dz, columns, a(Arg.gScale), b0, b1, width, stride);
  },
  decodeNested({ kernels, layout: { at, batch, stride, width, widths }, a, zero, thread, b0, b1, columns }: Part): number {
    const outerColumns = at.outerColumns + thread * stride;
    const squares = at.levelSquares + thread * widths.length * 8;
    zero(columns, stride);
    zero(outerColumns, stride);
    zero(squares, widths.length * 8);
    kernels.decodeNested(at.vals, at.idx, at.bounds, at.widths, widths.length, at.wDec, at.bDec, a(Arg.target), at.g, batch * stride, at.dz, columns, outerColumns, squares, a(Arg.gScale), b0, b1, width, stride);
    return 0;
  },
  decodeSigned(part: Part): number {
    const { kernels, layout: { at }, a, b0, b1 } = part;
    const k = a(Arg.k);
    kernels.boundRows(at.vals, at.idx, k * 4, at.idx, k, at.bounds, b0, b1);
    return selectedPhases.decodeRows(part);
  },
  decodeSignedAux({ kernels, layout: { at, stride, width }, a, b0, b1 }: Part): number {
    kernels.boundRows(at.auxVals, a(Arg.auxSource), a(Arg.auxSourceRow), at.auxIdx, a(Arg.auxK), at.auxBounds, b0, b1);
    return kernels.decodeRowsAux(at.auxVals, at.auxIdx, at.auxBounds, at.wDec, at.g, at.g2, at.auxDz, a(Arg.inverseScale), a(Arg.auxScale), b0, b1, width, stride);
  },
} as const;
