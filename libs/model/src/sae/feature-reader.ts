import type { CanonicalSae } from "./canonical.ts";
import { normaliseRow, type RowScale } from "./normalise.ts";

/** Single features of one row at a time: one column of the encoder each, not all of them. Keeps the row it took last. */
export class FeatureReader implements RowScale {
  scale = 1;
  shift = 0;
  readonly #sae: CanonicalSae;
  /** The row in the SAE's input space. */
  readonly #row: Float32Array;

  constructor(sae: CanonicalSae) {
    this.#sae = sae;
    this.#row = new Float32Array(sae.dIn);
  }

  /** Takes the row x[at, at + dIn); `scale` and `shift` are then what undoes its normalisation. */
  take(x: Float32Array, at: number): void {
    normaliseRow(x, at, this.#sae.normalisation, this.#row, this);
  }

  /** Activation of a feature in the row; of a topk SAE what it is if the feature is among the k largest (else 0). */
  activation(feature: number): number {
    const { wEnc, bias, threshold, dIn } = this.#sae;
    const row = this.#row;
    let pre = bias[feature]!;
    for (let i = 0, at = feature * dIn; i < dIn; i++, at++) pre += row[i]! * wEnc[at]!;
    return pre > 0 && (threshold === undefined || pre > threshold[feature]!) ? pre : 0;
  }
}
