import { Random } from "@mistral-sae/sae";
import type { Cell } from "./contender.ts";

/** Batches that differ, taken in turn. */
export const batchCount = 4;
/** Directions in each row. */
const partsPerRow = 40;

/** Rows like activations: sparse mixtures of min(2·d_in, 2048) unit directions with a little noise. [batchCount, batch, d_in] */
export function makeBatches({ dIn, batch }: Pick<Cell, "dIn" | "batch">, seed = 1): Float32Array<ArrayBuffer> {
  const random = new Random(seed);
  const directions = Math.min(2 * dIn, 2048);
  const dictionary = new Float32Array(directions * dIn);
  for (let f = 0; f < directions; f++) {
    const row = dictionary.subarray(f * dIn, (f + 1) * dIn);
    // A sum of uniforms is close enough to normal.
    for (let i = 0; i < dIn; i++) row[i] = random.uniform(-1, 1) + random.uniform(-1, 1) + random.uniform(-1, 1);
    const norm = Math.hypot(...row);
    for (let i = 0; i < dIn; i++) row[i]! /= norm;
  }
  const rows = new Float32Array(batchCount * batch * dIn);
  for (let at = 0; at < rows.length; at += dIn) {
    for (let i = 0; i < dIn; i++) rows[at + i] = random.uniform(-0.08, 0.08);
    for (let part = 0; part < partsPerRow; part++) {
      const f = random.nextUint32() % directions;
      const size = random.uniform(1, 3);
      for (let i = 0; i < dIn; i++) rows[at + i]! += size * dictionary[f * dIn + i]!;
    }
  }
  return rows;
}
