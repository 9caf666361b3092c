import type { Share } from "./phase-args.ts";

/** Latents [first, end) of a thread, so that all threads have about as many entries of the batch. */
export function entryShare({ layout: { at, h, threads }, memory, thread }: Pick<Share, "layout" | "memory" | "thread">): readonly [number, number] {
  const offsets = new Uint32Array(memory.buffer, at.offsets, h + 1);
  return [latentAt(offsets, thread, threads), latentAt(offsets, thread + 1, threads)];
}

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
