import type { TrainerConfig } from "@mistral-sae/sae";

/** What both trainers share in a comparison. */
export const shared = { dSae: 1536, batch: 1024, tokens: 512_000, heldBack: 32_000, deadSteps: 100, lrDecaySteps: 100, layer: 2, normalize: "expected_average_only_in" } as const;

/** One architecture as both programs train it. */
export interface Contest {
  readonly architecture: NonNullable<TrainerConfig["architecture"]>;
  readonly options: Omit<TrainerConfig, "dIn" | "dSae" | "trainingTokens">;
  /** The same options under SAELens' names; with `lr` in ours, SAELens has it too and no other. */
  readonly saelens: Readonly<Record<string, unknown>>;
  /** Penalised architectures: ours is trained at these factors of the coefficient too, and compared at SAELens' L0. */
  readonly sparsity?: { readonly option: "l1Coefficient" | "l0Coefficient"; readonly factors: readonly number[] } | undefined;
}

const k = 16;

export const contests: readonly Contest[] = [
  { architecture: "topk", options: { k }, saelens: { k } },
  { architecture: "abstopk", options: { k }, saelens: { k } },
  { architecture: "batchtopk", options: { k }, saelens: { k } },
  { architecture: "matryoshka_batchtopk", options: { k, matryoshkaWidths: [96, 384, 1536] }, saelens: { k, matryoshka_widths: [96, 384, 1536] } },
  { architecture: "standard", options: { l1Coefficient: 5, l1WarmUpSteps: 100 }, saelens: { l1_coefficient: 5, l1_warm_up_steps: 100 }, sparsity: { option: "l1Coefficient", factors: [0.7, 0.8, 0.9, 1] } },
  { architecture: "gated", options: { l1Coefficient: 5, l1WarmUpSteps: 100 }, saelens: { l1_coefficient: 5, l1_warm_up_steps: 100 }, sparsity: { option: "l1Coefficient", factors: [0.7, 0.8, 0.9, 1] } },
  // Thresholds move by the learning rate alone: with less they stay where they are for so few steps.
  { architecture: "jumprelu", options: { l0Coefficient: 1, l0WarmUpSteps: 100, lr: 3e-3 }, saelens: { l0_coefficient: 1, l0_warm_up_steps: 100 }, sparsity: { option: "l0Coefficient", factors: [0.5, 0.7, 0.85, 1] } },
];

/** A training of SAELens, as quality_saelens.py reads it. */
export interface SaelensJob {
  readonly architecture: string;
  readonly d_sae: number;
  readonly batch: number;
  readonly tokens: number;
  readonly dead_steps: number;
  readonly lr_decay_steps: number;
  readonly normalize: string;
  readonly lr: number;
  readonly seed: number;
  readonly saelens: Readonly<Record<string, unknown>>;
  readonly out: string;
}
