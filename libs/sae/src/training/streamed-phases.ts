import { Arg, type Part } from "./phase-args.ts";

/*
 * Gradients of all latents take as much memory as two of the weights' moments. Where they do not fit they are made twice, a latent at a
 * time in rows of the thread's own: once for their norm, and once more for the optimiser's step, which needs nothing of other latents.
 * Every number is the one that stored gradients give.
 */

/** Rows of a thread's own: the gradient of an encoder row, of a decoder row, and a row for sums that were taken before. */
export const streamedRows = 3;

/** Gradients of latents [first, end), none of them kept; returns what the kernel does. */
export function streamGradients(part: Part, first: number, end: number): number {
  let squares = 0;
  for (let f = first; f < end; f++) squares += latentGradient(part, f, part.bDecColumns);
  return squares;
}

/** Runs `step` on the thread's latents [f0, f1), given where the matrices of their gradients start: at once, or a latent at a time. */
export function updateLatents(part: Part, step: (gEnc: number, gDec: number, f0: number, f1: number) => void): number {
  const { f0, f1, layout: { at, stride, storesGradients } } = part;
  if (storesGradients) {
    step(at.gEnc, at.gDec, f0, f1);
    return 0;
  }
  for (let f = f0; f < f1; f++) {
    latentGradient(part, f, scratch(part) + 2 * stride);
    step(rowOrigin(part, f, 0), rowOrigin(part, f, 1), f, f + 1);
  }
  return 0;
}

function latentGradient(part: Part, f: number, bDecColumns: number): number {
  const { kernels, layout: { at, d, width, stride }, a } = part;
  return kernels.gradients(at.offsets, at.entries, at.wEnc, at.wDec, rowOrigin(part, f, 0), rowOrigin(part, f, 1), at.touched, bDecColumns, a(Arg.unitRows), f, f + 1, d, width, stride);
}

function scratch({ layout: { at, stride }, thread }: Part): number {
  return at.gradientRows + thread * streamedRows * stride;
}

/** Where a matrix would start whose row f is the thread's row: kernels address rows by their latent, modulo 2³². */
function rowOrigin(part: Part, f: number, row: number): number {
  const { stride } = part.layout;
  return scratch(part) + (row - f) * stride;
}
