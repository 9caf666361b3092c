export { type Activation, type ActivationFn, activationOf, type Fired } from "./codec/activate.ts";
export { denseOf, type EncodedRows, SaeCodec } from "./codec/codec.ts";
export { type FeatureValue, setFeatures } from "./codec/edit-codes.ts";
export { denormalizeRows, newRowStats, normalizeRows, type RowStats } from "./codec/normalize.ts";
export {
  type Architecture,
  ARCHITECTURES,
  hookNameOf,
  type Normalization,
  NORMALIZATIONS,
  type SaeConfig,
  selectsByK,
  WEIGHT_DTYPES,
  type WeightDType,
} from "./formats/config.ts";
export { foldDecoderNorms, foldInputScale, foldWhitening, type Whitening } from "./formats/fold.ts";
export { hookOfModule } from "./formats/hook-names.ts";
export { digestOf, loadSae } from "./formats/load.ts";
export { STORED_NORMALIZATIONS, type StoredNormalization } from "./formats/saelens/cfg.ts";
export type { LoadedSae, LoadSaeOptions, SaeFormat, SaeSource } from "./formats/loaded.ts";
export { cfgOf, SAELENS_VERSION, writeSae, type WrittenSae } from "./formats/saelens/write.ts";
export { type FiringRates, readFiringRates, type Spread, summarizeWeights, type WeightSummary } from "./formats/summary.ts";
export { decoderNorms, decoderRow, encoderRow, type GateWeights, namedTensors, requireSound, rowNorms, type SaeWeights } from "./formats/weights.ts";
