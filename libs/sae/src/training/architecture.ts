/** Kinds of SAE that can be trained, under SAELens' names. */
export const TRAINED_ARCHITECTURES = ["standard", "gated", "topk", "abstopk", "batchtopk", "matryoshka_batchtopk", "jumprelu"] as const;
export type TrainedArchitecture = (typeof TRAINED_ARCHITECTURES)[number];

/** What follows from the kind of an SAE alone. */
export interface ArchitectureFacts {
  /**
   * `selected`: the k largest pre-activations, of a row or of the batch; decoder rows stay unit vectors and dead latents learn from
   * AuxK. `penalised`: a sparsity loss keeps few features active; decoder rows are free and their norms weigh in the loss.
   */
  readonly sparsity: "selected" | "penalised";
  /** What k counts: features of each row, of the whole batch divided by its rows, or nothing. */
  readonly k: "row" | "batch" | "none";
}

export const architectureFacts: Readonly<Record<TrainedArchitecture, ArchitectureFacts>> = {
  standard: { sparsity: "penalised", k: "none" },
  gated: { sparsity: "penalised", k: "none" },
  topk: { sparsity: "selected", k: "row" },
  abstopk: { sparsity: "selected", k: "row" },
  batchtopk: { sparsity: "selected", k: "batch" },
  matryoshka_batchtopk: { sparsity: "selected", k: "batch" },
  jumprelu: { sparsity: "penalised", k: "none" },
};

/** Whether the largest pre-activations are selected; else a sparsity loss keeps features few. */
export function isSelected(architecture: TrainedArchitecture): boolean {
  return architectureFacts[architecture].sparsity === "selected";
}

/** Whether a step needs every pre-activation of the batch; the others do with a row's largest. */
export function isDense(architecture: TrainedArchitecture): boolean {
  return architectureFacts[architecture].k !== "row";
}

/** Options that only some kinds of SAE take, with those that do. */
export const optionsOf = {
  k: ["topk", "abstopk", "batchtopk", "matryoshka_batchtopk"],
  kStart: ["topk", "abstopk", "batchtopk", "matryoshka_batchtopk"],
  kAnnealSteps: ["topk", "abstopk", "batchtopk", "matryoshka_batchtopk"],
  kAux: ["topk", "abstopk", "batchtopk", "matryoshka_batchtopk"],
  auxLossCoefficient: ["topk", "abstopk", "batchtopk", "matryoshka_batchtopk"],
  matryoshkaWidths: ["matryoshka_batchtopk"],
  topkThresholdLr: ["batchtopk", "matryoshka_batchtopk"],
  l1Coefficient: ["standard", "gated"],
  l1WarmUpSteps: ["standard", "gated"],
  lpNorm: ["standard"],
  l0Coefficient: ["jumprelu"],
  l0WarmUpSteps: ["jumprelu"],
  jumpreluInitThreshold: ["jumprelu"],
  jumpreluBandwidth: ["jumprelu"],
  jumpreluSparsityLossMode: ["jumprelu"],
  jumpreluTanhScale: ["jumprelu"],
  jumpreluSteToInput: ["jumprelu"],
  preActLossCoefficient: ["jumprelu"],
  decoderInitNorm: ["standard", "gated", "jumprelu"],
} as const satisfies Readonly<Record<string, readonly TrainedArchitecture[]>>;

export type ArchitectureOption = keyof typeof optionsOf;
