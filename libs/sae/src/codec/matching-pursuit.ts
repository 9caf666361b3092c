import type { SaeWeights } from "../formats/weights.ts";
import type { ActivationFn } from "./activate.ts";
import { project } from "./project.ts";

/** Most features that matching pursuit can let fire in a row. */
export function pursuitCapacity({ config: { dIn, dSae, matchingPursuit } }: SaeWeights): number {
  return Math.min(dSae, matchingPursuit?.maxIterations ?? dIn);
}

/**
 * Matching pursuit as SAELens does it, on one row r [d_in] in the encoder's input space: take f with the largest relu(r·W_dec[f]) = v,
 * add v to its activation, subtract v·W_dec[f] from r, and repeat until ‖r‖ falls below the threshold, a step adds no feature to the
 * row (where that ends it), or the most iterations are done. Costs a product with W_dec for every step.
 */
export function matchingPursuit(sae: SaeWeights): ActivationFn {
  const { wDec } = sae;
  const { dIn, dSae, matchingPursuit: settings } = sae.config;
  const { residualThreshold = 0, stopOnDuplicateSupport = true, maxIterations = dIn } = settings ?? {};
  const capacity = pursuitCapacity(sae);
  const products = new Float32Array(dSae);
  const noBias = new Float32Array(dSae);
  const residual = new Float32Array(dIn);
  const place = new Map<number, number>();
  return {
    capacity,
    apply: (row, { indices, values }) => {
      residual.set(row);
      place.clear();
      for (let step = 0; step < maxIterations; step++) {
        project(residual, wDec, noBias, dIn, products);
        let best = 0;
        for (let f = 1; f < dSae; f++) if (products[f]! > products[best]!) best = f;
        const value = products[best]!;
        // Nothing is left that a feature points to: every further step would be this one again.
        if (!(value > 0)) break;
        const known = place.get(best);
        const at = known ?? place.size;
        if (known === undefined) {
          place.set(best, at);
          indices[at] = best;
          values[at] = 0;
        }
        values[at]! += value;
        let squares = 0;
        for (let i = 0, from = best * dIn; i < dIn; i++, from++) {
          residual[i]! -= value * wDec[from]!;
          squares += residual[i]! ** 2;
        }
        if ((stopOnDuplicateSupport && known !== undefined) || Math.sqrt(squares) < residualThreshold) break;
      }
      return place.size;
    },
  };
}
