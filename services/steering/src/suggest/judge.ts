import { countConcept, type Count, liftOf } from "./concept.ts";
import type { MeasuredText } from "./measure.ts";
import type { SuggestSettings } from "./suggest-settings.ts";

/** What steering by a feature at one strength did. */
export interface StrengthResult {
  readonly strength: number;
  readonly count: Count;
  readonly lift: number;
  /** Nats a token. */
  readonly nll: number;
  readonly passes: boolean;
  /** Passes with room to spare: twice the lift that is needed, and little more than half of the nats allowed. */
  readonly comfortable: boolean;
}

/** Share of the allowed rise in nats that a comfortable result may use. */
const comfortableShare = 0.6;

/** Nats a token over texts: all their tokens count alike. */
export function meanNllOf(texts: readonly MeasuredText[]): number {
  const tokens = texts.reduce((sum, { nllTokens }) => sum + nllTokens, 0);
  return tokens === 0 ? Number.NaN : texts.reduce((sum, { nllSum }) => sum + nllSum, 0) / tokens;
}

/** Judges one strength against the baseline texts of the same prompts and seeds. */
export function judge(
  strength: number,
  concept: readonly string[],
  baseline: readonly MeasuredText[],
  steered: readonly MeasuredText[],
  settings: Pick<SuggestSettings, "leastLift" | "mostNllRise">,
): StrengthResult {
  const words = new Set(concept);
  const count = countConcept(steered.map(({ text }) => text), words);
  const lift = liftOf(countConcept(baseline.map(({ text }) => text), words), count);
  const nll = meanNllOf(steered);
  const rise = nll - meanNllOf(baseline);
  const passes = lift >= settings.leastLift && rise <= settings.mostNllRise;
  const comfortable = lift >= 2 * settings.leastLift && rise <= comfortableShare * settings.mostNllRise;
  return { strength, count, lift, nll, passes, comfortable };
}

/**
 * The strength with the largest lift among those that pass comfortably, else among those that pass; the smaller one
 * of equals. Near the limit texts begin to repeat themselves, and other prompts may fall beyond it.
 */
export function bestStrength(results: readonly StrengthResult[]): StrengthResult | undefined {
  const comfortable = results.filter((result) => result.comfortable);
  const eligible = comfortable.length > 0 ? comfortable : results.filter(({ passes }) => passes);
  return eligible.reduce<StrengthResult | undefined>((best, result) => (best === undefined || result.lift > best.lift ? result : best), undefined);
}

/**
 * The sample to show: the one whose steered text has the median number of concept words, the earliest of equals, so
 * that it is neither the best nor the worst.
 */
export function typicalSample(concept: readonly string[], steered: readonly MeasuredText[]): number {
  const words = new Set(concept);
  const order = steered.map(({ text }, i) => ({ i, n: countConcept([text], words).n })).sort((a, b) => a.n - b.n || a.i - b.i);
  const median = order[Math.floor(order.length / 2)]?.n ?? 0;
  return order.find(({ n }) => n === median)?.i ?? 0;
}
