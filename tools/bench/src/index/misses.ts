import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { bytesOf, f32FromBf16 } from "@mistral-sae/tensor";
import { hash, type Rows, type Shape } from "./synthetic.ts";

/** Features that almost fired on each of `nTokens` rows, `most` a row, as Encode tells them: any but few that fire, a little below the weakest that does. */
export function synthesiseMisses({ dSae, k }: Shape, rows: Rows, nTokens: number, most: number) {
  const acts = f32FromBf16(rows.acts, new Float32Array(rows.acts.length));
  const indices = new Uint32Array(nTokens * most);
  const values = new Float32Array(nTokens * most);
  const thresholds = new Float32Array(nTokens * most);
  for (let row = 0; row < nTokens; row++) {
    let threshold = acts[row * k]!;
    for (let pair = row * k; pair < (row + 1) * k; pair++) threshold = Math.min(threshold, acts[pair]!);
    // The row's own features decide, so that the same text has the same near-misses.
    const key = rows.indices[row * k]!;
    for (let i = 0; i < most; i++) {
      // Squared: common features come close more often too.
      indices[row * most + i] = Math.floor((hash(key, i, row, 61) / 2 ** 32) ** 2 * dSae);
      values[row * most + i] = threshold * (1 - 0.01 * i - (hash(key, i, 62) % 1_000) / 1e5);
      thresholds[row * most + i] = threshold;
    }
  }
  const bytes = (array: Uint32Array | Float32Array) => bytesOf(array) as Uint8Array<ArrayBuffer>;
  return {
    nearMisses: { nTokens, k: most, dSae, featureIndices: bytes(indices), activations: bytes(values), activationDtype: DataType.F32 },
    nearMissThresholds: bytes(thresholds),
  };
}
