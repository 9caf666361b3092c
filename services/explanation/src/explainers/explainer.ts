import type { ActivationExample, Feature } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature";

/** What an explainer may show of a feature. */
export interface Evidence {
  readonly feature: Feature;
  readonly examples: readonly ActivationExample[];
  /** Tokens above this share of an example's maximum count as firing. */
  readonly threshold: number;
}

/** A method of explaining that asks a language model. */
export interface Explainer {
  /** explanation_type. */
  readonly type: string;
  /** What it does, for people. */
  readonly description: string;
  /** Name of the prompt template; its hash goes with every explanation. */
  readonly templateId: string;
  /** What never changes between features. */
  readonly system: string;
  /** The question about one feature; from the same evidence always the same text. */
  question(evidence: Evidence): string;
}
