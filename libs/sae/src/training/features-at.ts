import type { ResolvedTrainerConfig } from "./config.ts";

type Annealing = Pick<ResolvedTrainerConfig, "k" | "kStart" | "kAnnealSteps">;

/** Features a row at a step, 0 for the first: from kStart linearly to k, which step `kAnnealSteps` has. Whole where k counts rows. */
export function featuresAt(step: number, { k, kStart, kAnnealSteps }: Annealing): number {
  return step >= kAnnealSteps ? k : kStart + ((k - kStart) * step) / kAnnealSteps;
}
