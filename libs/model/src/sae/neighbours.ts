import type { EncoderSessions } from "./encoder-session.ts";

/** One side of an SAE: a row a feature. */
export interface SideRows {
  /** [features, dIn] */
  readonly matrix: Float32Array;
  /** [features] length of each row. */
  readonly norms: Float32Array;
  readonly dIn: number;
}

/** Neighbours of a run of features, `topK` each, most alike first. */
export interface NeighbourRows {
  readonly topK: number;
  /** [features, topK] */
  readonly features: Uint32Array;
  /** [features, topK]; NaN where a feature has fewer. */
  readonly cosines: Float32Array;
  /** [features] length of each feature's own row. */
  readonly norms: Float32Array;
}

/** Cosines of one run at most, bytes. */
const cosineBytes = 64 << 20;

/**
 * The rows that point most the same way as each of rows `start` up to `end`, itself left out: a product with all rows and
 * the largest of each, so it costs what encoding as many tokens does. Rows of zeros have no neighbours and are nobody's.
 */
export async function nearestRows(sessions: EncoderSessions, { matrix, norms, dIn }: SideRows, start: number, end: number, topK: number): Promise<NeighbourRows> {
  const dSae = norms.length;
  const kept = Math.min(topK, dSae - 1);
  const out: NeighbourRows = { topK: kept, features: new Uint32Array((end - start) * kept), cosines: new Float32Array((end - start) * kept).fill(Number.NaN), norms: norms.slice(start, end) };
  if (kept === 0) return out;
  // A row of zeros gets what no cosine is.
  const bias = norms.map((norm) => (norm > 0 ? 0 : notACosine));
  const scale = norms.map((norm) => (norm > 0 ? 1 / norm : 1));
  const run = Math.max(1, Math.floor(cosineBytes / (dSae * Float32Array.BYTES_PER_ELEMENT)));
  for (let first = start; first < end; first += run) {
    const count = Math.min(run, end - first);
    const rows = matrix.slice(first * dIn, (first + count) * dIn);
    for (let i = 0; i < rows.length; i++) rows[i]! *= scale[first + Math.floor(i / dIn)]!;
    const { values, indices } = await sessions.nearest(matrix, bias, scale, rows, count, dIn, kept + 1);
    for (let row = 0; row < count; row++) {
      if (norms[first + row] === 0) continue;
      let to = (first - start + row) * kept;
      const limit = to + kept;
      for (let i = row * (kept + 1); i < (row + 1) * (kept + 1) && to < limit; i++) {
        if (indices[i] === first + row || values[i]! < -2) continue;
        out.features[to] = indices[i]!;
        out.cosines[to++] = values[i]!;
      }
    }
  }
  return out;
}

const notACosine = -1e30;
