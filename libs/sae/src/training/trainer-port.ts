import type { SaeWeights } from "../formats/weights.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import type { SavedTrainer, TrainerState } from "./state.ts";

/** What one step did. Sums over the batch are f64. */
export interface TrainerMetrics {
  /** 1 for the first. */
  readonly step: number;
  /** Rows trained on, this batch included. */
  readonly nTrainingTokens: number;
  /** What the step descends: all the losses below and, of nested levels, those of the levels within. */
  readonly loss: number;
  /** Factor × mean squared error, of all latents. */
  readonly mseLoss: number;
  /** The auxiliary part, its coefficient included; 0 without dead latents. */
  readonly auxLoss: number;
  /** The sparsity part with its coefficients; 0 for selected architectures. */
  readonly sparsityLoss: number;
  /** Σ‖x - x̂‖² / Σ‖x - x̄‖² of the batch, where the loss is taken. */
  readonly fvu: number;
  /** Mean features a row. */
  readonly l0: number;
  /** Dead latents by the run's rule, this batch counted. */
  readonly numDead: number;
  readonly deadFraction: number;
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
  readonly lr: number;
  /** batchtopk, matryoshka_batchtopk: the threshold for inference so far. */
  readonly topkThreshold: number | undefined;
  /** Dead latents resampled at this step. */
  readonly nResampled: number;
}

/** A trainer of one SAE, whatever computes it. Steps run in the order in which they were asked for. */
export interface TrainerPort extends AsyncDisposable {
  readonly config: ResolvedTrainerConfig;
  /** Steps done and reported. */
  readonly stepsDone: number;
  /**
   * Trains on one batch: exactly `trainBatchSizeTokens` raw rows [B, d_in], of a transcoder [B, d_in + d_out], or the number of a slot that was filled before.
   * Rows are copied before the call returns while a slot is free, else when one comes free: keep them until then. Rejects with NonFiniteError when the step has no finite loss or gradient; the weights then stay as they were.
   */
  step(batch: Float32Array | number): Promise<TrainerMetrics>;
  /** Everything that a bit-identical continuation at equal threads needs, as it is after the steps asked for so far. Its tensors are read from the trainer: use them before the next step. */
  state(): Promise<TrainerState>;
  /** Continues from a saved state. Throws InputError when it belongs to another shape or formulation. */
  restore(saved: SavedTrainer): Promise<void>;
  /** The SAE as it is after the steps asked for so far, for raw rows. `metadata` goes into its configuration. */
  weights(metadata?: Readonly<Record<string, unknown>>): Promise<SaeWeights>;
  /** Waits for running steps, then frees threads and memory. */
  close(): Promise<void>;
}
