import { BDecInit, type TrainingConfig } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { type ArchitectureOption, type BDecInitMethod, optionsOf, type ResolvedTrainerConfig } from "@mistral-sae/sae";

/** Numbers that only some kinds of SAE take. */
const NUMBERS = [
  "kAux",
  "auxLossCoefficient",
  "topkThresholdLr",
  "l1Coefficient",
  "lpNorm",
  "l0Coefficient",
  "jumpreluInitThreshold",
  "jumpreluBandwidth",
  "jumpreluTanhScale",
  "preActLossCoefficient",
  "decoderInitNorm",
] as const satisfies readonly ArchitectureOption[];

const CENTERS: Readonly<Record<BDecInitMethod, BDecInit>> = { mean: BDecInit.MEAN, geometric_median: BDecInit.GEOMETRIC_MEDIAN, zeros: BDecInit.ZEROS };

/** Writes what the trainer decided into a configuration: what every SAE has, and what this kind takes. */
export function fillDefaults(config: TrainingConfig, trainer: ResolvedTrainerConfig): void {
  const takes = (option: ArchitectureOption): boolean => (optionsOf[option] as readonly string[]).includes(trainer.architecture);
  config.lr = trainer.lr;
  config.bDecInitMethod = CENTERS[trainer.bDecInitMethod];
  config.deadFeatureWindowTokens ??= BigInt(trainer.deadFeatureWindowTokens);
  config.adamBeta1 = trainer.adamBeta1;
  config.adamBeta2 = trainer.adamBeta2;
  config.adamEpsilon = trainer.adamEpsilon;
  config.weightDecay = trainer.weightDecay;
  config.gradClipNorm = trainer.gradClipNorm;
  if (trainer.mseScale !== undefined) config.mseScale = trainer.mseScale;
  for (const name of NUMBERS) if (takes(name)) config[name] = trainer[name];
  if (takes("matryoshkaWidths")) config.matryoshkaWidths = [...trainer.matryoshkaWidths];
  if (takes("jumpreluSparsityLossMode")) config.jumpreluSparsityLossMode = trainer.jumpreluSparsityLossMode;
}
