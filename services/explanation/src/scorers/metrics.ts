import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ScoreMetricsSchema } from "@mistral-sae/contracts/mistral_sae/explanation/v1/explanation";

/** One judgement; undefined where the judge gave none. */
export interface Judged {
  readonly activating: boolean;
  readonly prediction: boolean | undefined;
}

/**
 * Balanced accuracy, precision, recall and F1 over the examples that were judged. A metric whose denominator is zero
 * is absent. F1 = 2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall where both exist.
 */
export function metricsOf(judged: readonly Judged[]): MessageInitShape<typeof ScoreMetricsSchema> {
  let tp = 0;
  let fp = 0;
  let tn = 0;
  let fn = 0;
  for (const { activating, prediction } of judged) {
    if (prediction === undefined) continue;
    if (activating && prediction) tp += 1;
    else if (activating) fn += 1;
    else if (prediction) fp += 1;
    else tn += 1;
  }
  const recall = ratio(tp, tp + fn);
  const precision = ratio(tp, tp + fp);
  const trueNegativeRate = ratio(tn, tn + fp);
  const balancedAccuracy = recall === undefined || trueNegativeRate === undefined ? undefined : (recall + trueNegativeRate) / 2;
  const f1 = recall === undefined || precision === undefined ? undefined : ratio(2 * tp, 2 * tp + fp + fn);
  return {
    ...(balancedAccuracy === undefined ? {} : { balancedAccuracy }),
    ...(precision === undefined ? {} : { precision }),
    ...(recall === undefined ? {} : { recall }),
    ...(f1 === undefined ? {} : { f1 }),
  };
}

function ratio(part: number, whole: number): number | undefined {
  return whole === 0 ? undefined : part / whole;
}
