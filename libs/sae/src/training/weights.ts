import { InputError } from "@mistral-sae/tensor";
import { foldDecoderNorms } from "../formats/fold.ts";
import { type Architecture, outputWidth, selectsByK } from "../formats/config.ts";
import { rowNorms, type SaeWeights } from "../formats/weights.ts";
import { architectureFacts, isSelected } from "./architecture.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import { savedRegions } from "./optimise.ts";
import { adoptPenalised, exportPenalised } from "./penalised-weights.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** Rows this close to norm 1 are taken for unit rows. */
const unitTolerance = 1e-4;

/**
 * The trained SAE, copied; with signum_schedule_free the averaged weights. With expected_average_only_in the factor s is folded so that the SAE reads raw rows: b_enc /= s and
 * b_dec /= s, threshold /= s. That scales activations by 1/s and keeps the decoder's rows unit vectors; as all of a row's pre-activations scale
 * alike, the selection does not change. A transcoder has a factor t of its own for its outputs: activations are scaled by 1/t, with
 * W_enc and W_skip *= s/t. Penalised architectures, whose decoder rows are free, are folded as SAELens does it: exportPenalised.
 */
export function exportWeights(memory: TrainerMemory, config: ResolvedTrainerConfig, metadata: Readonly<Record<string, unknown>> = {}): SaeWeights {
  const { d, dOut, h } = memory.layout;
  const { normalizeActivations, transcoder, skipConnection } = config;
  const architecture = exportedArchitecture(config);
  const saved = savedRegions(config);
  const { inputScale, outputScale } = memory;
  const unscale = (values: Float32Array): Float32Array => (outputScale === 1 ? values : values.map((value) => value / outputScale));
  const told: SaeWeights["config"] = {
    architecture,
    dIn: d,
    ...(transcoder ? { dOut, skipConnection } : {}),
    dSae: h,
    ...(selectsByK(architecture) ? { k: config.k } : {}),
    dtype: "float32",
    applyBDecToInput: !transcoder,
    normalizeActivations: normalizeActivations === "expected_average_only_in" || normalizeActivations === "covariance_whitening" ? "none" : normalizeActivations,
    reshapeActivations: "none",
    rescaleActsByDecoderNorm: false,
    metadata,
  };
  if (!isSelected(config.architecture)) return exportPenalised(memory, config, told);
  return {
    config: told,
    wEnc: times(memory.readRows(saved.wEnc, 0, h), inputScale / outputScale),
    bEnc: unscale(memory.readBias(saved.wEnc)),
    wDec: memory.readRows(saved.wDec, 0, h),
    bDec: unscale(memory.vector(saved.bDec).slice(0, dOut)),
    ...(skipConnection ? { wSkip: times(memory.readRows(saved.wSkip, 0, dOut), inputScale / outputScale) } : {}),
    ...(isByBatch(config) ? { threshold: new Float32Array(h).fill(memory.topkThreshold / outputScale) } : {}),
  };
}

function times(values: Float32Array, factor: number): Float32Array {
  return factor === 1 ? values : values.map((value) => value * factor);
}

/** What the trained SAE is for those who use it: a batch's largest values become those above one threshold, as in SAELens. */
function exportedArchitecture(config: ResolvedTrainerConfig): Architecture {
  const { architecture } = config;
  return architecture === "batchtopk" || architecture === "matryoshka_batchtopk" ? "jumprelu" : architecture;
}

function isByBatch({ architecture }: ResolvedTrainerConfig): boolean {
  return architectureFacts[architecture].k === "batch";
}

/**
 * Takes the weights of an SAE as the start of a training. gao needs unit decoder rows: other rows are made so, with the inverse
 * factor in their encoder. The SAE must be one that {@link requireAdoptable} lets pass.
 */
export function adoptWeights(memory: TrainerMemory, config: ResolvedTrainerConfig, given: SaeWeights): void {
  if (!isSelected(config.architecture)) return adoptPenalised(memory, given);
  const sae = config.formulation === "gao" ? withUnitRows(given) : given;
  const { h } = memory.layout;
  const scale = memory.outputScale;
  const ratio = scale / memory.inputScale;
  memory.writeRows("wEnc", 0, times(sae.wEnc, ratio));
  memory.writeRows("wDec", 0, sae.wDec);
  if (sae.wSkip !== undefined) memory.writeRows("wSkip", 0, times(sae.wSkip, ratio));
  memory.writeBias("wEnc", sae.bEnc.map((value) => value * scale));
  memory.vector("bDec").set(sae.bDec.map((value) => value * scale));
  if (isByBatch(config)) memory.topkThreshold = (sae.threshold!.reduce((sum, value) => sum + value, 0) / h) * scale;
}

function withUnitRows(sae: SaeWeights): SaeWeights {
  const unit = rowNorms(sae.wDec, outputWidth(sae.config)).every((norm) => Math.abs(norm - 1) < unitTolerance);
  return unit ? sae : foldDecoderNorms({ ...sae, config: { ...sae.config, rescaleActsByDecoderNorm: true } });
}

/** Throws InputError when a training cannot start from the SAE. */
export function requireAdoptable(config: ResolvedTrainerConfig, { config: sae }: SaeWeights): void {
  const normalization = config.normalizeActivations === "expected_average_only_in" || config.normalizeActivations === "covariance_whitening" ? "none" : config.normalizeActivations;
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ["architecture", sae.architecture, exportedArchitecture(config)],
    ["d_in", sae.dIn, config.dIn],
    ["d_out", outputWidth(sae), config.dOut],
    ["kind", sae.dOut === undefined ? "autoencoder" : "transcoder", config.transcoder ? "transcoder" : "autoencoder"],
    ["skip_connection", sae.skipConnection ?? false, config.skipConnection],
    ["d_sae", sae.dSae, config.dSae],
    ["normalize_activations", sae.normalizeActivations, normalization],
    ["apply_b_dec_to_input", sae.applyBDecToInput, !config.transcoder],
    ["reshape_activations", sae.reshapeActivations, "none"],
    ...(config.formulation === "gao" ? [] : [["rescale_acts_by_decoder_norm", sae.rescaleActsByDecoderNorm, false] as const]),
  ];
  for (const [field, got, wanted] of pairs) {
    if (got !== wanted) throw new InputError(`the SAE to start from has another ${field}`, { field, got, wanted });
  }
}
