import type { Gradients } from "./step-context.ts";

/** What a kind of training does between the prepared batch and the optimiser, and right after it. */
export interface GradientStep {
  /** Leaves the gradients in memory. Throws NonFiniteError when the loss is not finite. */
  gradients(): Promise<Gradients>;
  /** Does what the updated weights need before the next batch. */
  afterUpdate(): void;
  close(): Promise<void>;
}
