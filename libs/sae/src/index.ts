export { type Activation, type ActivationFn, activationOf, type Fired } from "./codec/activate.ts";
export { denseOf, type EncodedRows, SaeCodec } from "./codec/codec.ts";
export { type FeatureValue, setFeatures } from "./codec/edit-codes.ts";
export { denormalizeRows, newRowStats, normalizeRows, type RowStats } from "./codec/normalize.ts";
export {
  type Architecture,
  ARCHITECTURES,
  hookNameOf,
  hookNameOutOf,
  isTranscoder,
  type MatchingPursuit,
  type Normalization,
  NORMALIZATIONS,
  outputWidth,
  type SaeConfig,
  selectsByK,
  WEIGHT_DTYPES,
  type WeightDType,
} from "./formats/config.ts";
export { foldDecoderNorms, foldGate, foldInputScale, foldWhitening, type Whitening } from "./formats/fold.ts";
export { hookOfModule } from "./formats/hook-names.ts";
export { digestOf, loadSae } from "./formats/load.ts";
export { STORED_NORMALIZATIONS, type StoredNormalization } from "./formats/saelens/cfg.ts";
export type { LoadedSae, LoadSaeOptions, SaeFormat, SaeSource } from "./formats/loaded.ts";
export { cfgOf, SAELENS_VERSION, saelensName, writeSae } from "./formats/saelens/write.ts";
export { writeSparsify } from "./formats/sparsify-write.ts";
export type { WrittenSae } from "./formats/streamed.ts";
export { type FiringRates, readFiringRates, type Spread, summarizeWeights, type WeightSummary } from "./formats/summary.ts";
export { openStateDict, type StateDict, type TorchTensor } from "./formats/torch/state-dict.ts";
export { decoderNorms, decoderRow, encoderRow, type GateWeights, namedTensors, requireSound, rowNorms, type SaeWeights } from "./formats/weights.ts";
export { type ArchitectureFacts, architectureFacts, type ArchitectureOption, optionsOf, TRAINED_ARCHITECTURES, type TrainedArchitecture } from "./training/architecture.ts";
export { decoderSimilarity, type DecoderSimilarity, SIMILARITY_BUDGET } from "./metrics/decoder-similarity.ts";
export { MatrixProduct } from "./metrics/matrix-product.ts";
export { RowEncoder } from "./metrics/row-encoder.ts";
export { BatchWriter, type RowDType, type StoredRows } from "./training/batch-writer.ts";
export { type Checkpoint, type RestoredCheckpoint, listCheckpoints, restoreCheckpoint, restoreNewestCheckpoint, writeCheckpoint, type WriteCheckpointOptions } from "./training/checkpoint.ts";
export {
  type BDecInitMethod,
  type Formulation,
  type JumpreluSparsityLossMode,
  type LrScheduler,
  type Optimizer,
  type ResolvedTrainerConfig,
  resolveTrainerConfig,
  type TrainedNormalization,
  type TrainerConfig,
  trainerDefaults,
} from "./training/config.ts";
export { HybridTrainer } from "./training/hybrid-trainer.ts";
export type { TrainerInit } from "./training/initialise.ts";
export { type MemoryBudget, requireTrainingMemory, trainingMemory } from "./training/layout.ts";
export { LoopTrainer } from "./training/loop/loop-trainer.ts";
export { NonFiniteError } from "./training/non-finite-error.ts";
export { openTrainer, requireTrainable, type TrainingProvider, trainingProviders } from "./training/open-trainer.ts";
export { Random, type RandomState } from "./training/random.ts";
export { learningRate } from "./training/schedule.ts";
export type { SavedTrainer, TrainerProgress, TrainerState } from "./training/state.ts";
export type { ThreadedTrainer } from "./training/threaded-trainer.ts";
export type { SharedTrainer } from "./training/trainer-memory.ts";
export type { TrainerMetrics, TrainerPort } from "./training/trainer-port.ts";
export { requireAdoptable } from "./training/weights.ts";
