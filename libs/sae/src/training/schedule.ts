import type { ResolvedTrainerConfig } from "./config.ts";

type Schedule = Pick<ResolvedTrainerConfig, "lr" | "lrScheduler" | "lrWarmUpSteps" | "lrDecaySteps" | "totalSteps">;

/**
 * Learning rate of a step, 0 for the first. It rises linearly over the warm-up, stays at `lr`, and falls to zero over the
 * decay; the step after the last would have zero.
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
