import type { CanonicalSae } from "./canonical.ts";
import type { EncoderSessions } from "./encoder-session.ts";
import { normalise } from "./normalise.ts";

/** A feature of a row with what it would be if TopK kept it, above 0. */
export interface Asked {
  readonly row: number;
  readonly feature: number;
  readonly activation: number;
}

/** Pre-activations of one run at most, bytes. */
const preActivationBytes = 64 << 20;

/** Parts that the features are scanned in. */
const parts = 8;

/**
 * Whether a topk SAE keeps each feature asked about in residual rows [n, dIn]: fewer than k others are larger. The
 * features are scanned in parts only until k larger ones have been seen, which for a feature far from the k largest is
 * early on; that one is kept is known at the end.
 */
export async function keeps(sae: CanonicalSae, sessions: EncoderSessions, rows: Float32Array, n: number, asked: readonly Asked[]): Promise<Uint8Array> {
  const { dIn, dSae, k, wEnc, bias, normalisation } = sae;
  const input = normalise(rows, n, dIn, normalisation).rows;
  const larger = new Uint32Array(asked.length);
  const size = Math.ceil(dSae / parts);
  const rowsPerRun = Math.max(1, Math.floor(preActivationBytes / (size * Float32Array.BYTES_PER_ELEMENT)));
  for (let start = 0; start < dSae; start += size) {
    const end = Math.min(start + size, dSae);
    const open = Map.groupBy(asked.flatMap((_, i) => (larger[i]! < k ? [i] : [])), (i) => asked[i]!.row);
    const rowsOpen = [...open.keys()];
    for (let first = 0; first < rowsOpen.length; first += rowsPerRun) {
      const run = rowsOpen.slice(first, first + rowsPerRun);
      const pre = await sessions.dense(wEnc.subarray(start * dIn, end * dIn), bias.subarray(start, end), gather(input, run, dIn), run.length, dIn);
      for (const [r, row] of run.entries()) {
        for (const i of open.get(row)!) larger[i] = countLarger(pre, r * (end - start), start, end, asked[i]!, larger[i]!, k);
      }
    }
  }
  return Uint8Array.from(larger, (count) => (count < k ? 1 : 0));
}

/** `count` and the features [start, end), their values from pre[at] on, that are larger; no further than `most`. */
function countLarger(pre: Float32Array, at: number, start: number, end: number, { feature, activation }: Asked, count: number, most: number): number {
  let found = count;
  for (let f = start; f < end && found < most; f++) {
    const value = pre[at + f - start]!;
    // Of equal ones TopK keeps the first.
    if ((value > activation || (value === activation && f < feature)) && f !== feature) found++;
  }
  return found;
}

function gather(rows: Float32Array, chosen: readonly number[], d: number): Float32Array {
  const out = new Float32Array(chosen.length * d);
  for (const [i, row] of chosen.entries()) out.set(rows.subarray(row * d, (row + 1) * d), i * d);
  return out;
}
