import type { TrainerMetrics } from "./trainer-port.ts";

/** What computes steps in the trainer's thread. */
export interface StepEngine {
  /** Steps that one call may do. */
  readonly stepsPerRun: number;
  /**
   * Trains on the rows in these slots, one after the other. Gives one result for each: what the step did, or the NonFiniteError
   * that left the weights as they were. Throws when no step was done.
   */
  steps(slots: readonly number[]): Promise<(TrainerMetrics | Error)[]>;
  close(): Promise<void>;
}
