import type { ResolvedTrainerConfig } from "./config.ts";

type Schedule = Pick<ResolvedTrainerConfig, "lr" | "lrScheduler" | "lrWarmUpSteps" | "lrDecaySteps" | "totalSteps">;

/**
 * Learning rate of a step, 0 for the first. It rises linearly over the warm-up, stays at `lr`, and falls to zero over the
 * decay; the step after the last would have zero. Warm-up, `constant` and its decay are SAELens' to the step. Its `cosineannealing` without
 * decay steps is `cosine` when its lr_end is 0; with decay steps it first falls along the cosine to lr_end (a tenth of lr), then linearly
 * to zero, where ours stays at lr until the decay. `linear` is the usual linear schedule with warm-up, which SAELens lacks.
 */
export function learningRate(step: number, schedule: Schedule): number {
  const { lr, lrScheduler, lrWarmUpSteps, totalSteps } = schedule;
  const decaySteps = schedule.lrDecaySteps > 0 || lrScheduler === "constant" ? schedule.lrDecaySteps : totalSteps - lrWarmUpSteps;
  if (step < lrWarmUpSteps) return (lr * (step + 1)) / lrWarmUpSteps;
  const left = totalSteps - step;
  if (left >= decaySteps) return lr;
  const share = Math.max(0, left) / decaySteps;
  return lrScheduler === "cosine" ? (lr * (1 - Math.cos(Math.PI * share))) / 2 : lr * share;
}
