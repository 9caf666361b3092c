import { stat } from "node:fs/promises";
import { join } from "node:path";
import { InputError, openSafetensors, type TensorSource } from "@mistral-sae/tensor";
import { foldDecoderNorms, foldInputScale, foldWhitening, type Whitening } from "../fold.ts";
import { outputWidth } from "../config.ts";
import { readJsonObject } from "../json.ts";
import type { LoadedSae, LoadSaeOptions } from "../loaded.ts";
import { storedDType } from "../stored-dtype.ts";
import { readTransposed, requireTensors, type TensorTable } from "../tensors.ts";
import { requireSound, type SaeWeights } from "../weights.ts";
import { readCfg, type SaelensCfg, type StoredNormalization } from "./cfg.ts";

export const CFG_FILE = "cfg.json";
export const WEIGHTS_FILE = "sae_weights.safetensors";
const SCALER_FILE = "activation_scaler.json";
const WHITENING_FILE = "activation_whitening.safetensors";

/** Reads a SAELens folder: current, legacy, or a training checkpoint. */
export async function readSaelens(folder: string, options: LoadSaeOptions): Promise<LoadedSae> {
  const cfgPath = join(folder, CFG_FILE);
  const { json, text } = await readJsonObject(cfgPath);
  const cfg = readCfg(json);
  const weightsPath = join(folder, WEIGHTS_FILE);
  const warnings: string[] = [];
  await using source = await openSafetensors(weightsPath);
  const { required, optional } = tableOf(cfg);
  requireTensors(source, weightsPath, required, optional, `architecture ${cfg.architecture}, d_in ${cfg.config.dIn}, d_sae ${cfg.config.dSae} in ${CFG_FILE}`);
  const stored = await readStored(source, cfg, weightsPath);
  const sae = await settle(stored, cfg, folder, { ...options, normalizeActivations: options.normalizeActivations ?? cfg.normalization });
  const config = { ...sae.config, dtype: storedDType(source, cfg.config.dtype, warnings) };
  const result = { ...sae, config };
  requireSound(result, weightsPath);
  if (result.threshold?.some((value) => value < 0) === true) warnings.push("threshold has negative values: those features fire on negative pre-activations, which the ReLU then drops");
  return {
    sae: result,
    source: { format: cfg.legacy ? "saelens-legacy" : "saelens", path: folder, files: [cfgPath, weightsPath], cfgJson: text, warnings },
  };
}

interface Stored {
  readonly weights: SaeWeights;
  /** batchtopk: the one threshold of a training checkpoint. */
  readonly topkThreshold?: number;
}

function tableOf({ batch, config, legacy }: SaelensCfg): { required: TensorTable; optional: TensorTable } {
  const { architecture, dIn, dSae, skipConnection = false } = config;
  const dOut = outputWidth(config);
  const decoder = { W_dec: [dSae, dOut], b_dec: [dOut] };
  const optional = legacy ? { scaling_factor: [dSae] } : {};
  if (architecture === "matching_pursuit") return { required: decoder, optional };
  const matrices = { W_enc: [dIn, dSae], ...decoder, ...(skipConnection ? { W_skip: [dOut, dIn] } : {}) };
  if (architecture === "gated") return { required: { ...matrices, b_gate: [dSae], b_mag: [dSae], r_mag: [dSae] }, optional };
  const biased = { ...matrices, b_enc: [dSae] };
  if (batch) return { required: { ...biased, topk_threshold: [] }, optional };
  if (architecture === "jumprelu") return { required: biased, optional: { ...optional, threshold: [dSae], log_threshold: [dSae] } };
  return { required: biased, optional };
}

async function readStored(source: TensorSource, cfg: SaelensCfg, file: string): Promise<Stored> {
  const { architecture, dIn, dSae, skipConnection = false } = cfg.config;
  const gated = architecture === "gated";
  const pursues = architecture === "matching_pursuit";
  const wDec = await source.readF32("W_dec");
  const weights: SaeWeights = {
    config: cfg.config,
    wEnc: pursues ? wDec : await readTransposed(source, "W_enc", dIn, dSae),
    bEnc: gated || pursues ? new Float32Array(dSae) : await source.readF32("b_enc"),
    wDec,
    bDec: await source.readF32("b_dec"),
    ...(skipConnection ? { wSkip: await source.readF32("W_skip") } : {}),
    ...(architecture === "jumprelu" && !cfg.batch ? { threshold: await readThreshold(source, file) } : {}),
    ...(gated ? { gate: { bGate: await source.readF32("b_gate"), bMag: await source.readF32("b_mag"), rMag: await source.readF32("r_mag") } } : {}),
  };
  if (source.tensors.has("scaling_factor")) await applyScalingFactor(source, weights, cfg.finetuningScalingFactor, file);
  return source.tensors.has("topk_threshold") ? { weights, topkThreshold: (await source.readF32("topk_threshold"))[0]! } : { weights };
}

async function readThreshold(source: TensorSource, file: string): Promise<Float32Array> {
  const both = source.tensors.has("threshold") && source.tensors.has("log_threshold");
  const neither = !source.tensors.has("threshold") && !source.tensors.has("log_threshold");
  if (both || neither) throw new InputError("jumprelu needs one tensor of thresholds", { file, field: "threshold", got: both ? "threshold and log_threshold" : "none", wanted: "threshold, or log_threshold" });
  return source.tensors.has("threshold") ? await source.readF32("threshold") : (await source.readF32("log_threshold")).map((value) => Math.exp(value));
}

/** SAELens multiplied activations by this factor before decoding; folded into the decoder's rows it does the same. */
async function applyScalingFactor(source: TensorSource, { wDec, config }: SaeWeights, allowed: boolean, file: string): Promise<void> {
  const dOut = outputWidth(config);
  const factors = await source.readF32("scaling_factor");
  const first = factors.findIndex((factor) => Math.abs(factor - 1) > 1e-5);
  if (first === -1) return;
  if (!allowed) throw new InputError("scaling_factor differs from 1 and cfg.json does not announce it", { file, field: `scaling_factor[${first}]`, got: factors[first], wanted: "1, or finetuning_scaling_factor true" });
  for (let i = 0; i < wDec.length; i++) wDec[i]! *= factors[Math.floor(i / dOut)]!;
}

/** Folds what SAELens applies outside the SAE, and turns a batchtopk checkpoint into the jumprelu SAE that it stands for. */
async function settle(stored: Stored, cfg: SaelensCfg, folder: string, options: LoadSaeOptions & { readonly normalizeActivations: StoredNormalization }): Promise<SaeWeights> {
  const normalization = options.normalizeActivations;
  const rescale = cfg.config.rescaleActsByDecoderNorm;
  const batch = stored.topkThreshold !== undefined;
  let threshold = stored.topkThreshold;
  let sae: SaeWeights = { ...stored.weights, config: { ...cfg.config, architecture: batch ? "standard" : cfg.config.architecture } };
  if (normalization === "expected_average_only_in") {
    const scale = await inputScale(folder, options.scalingFactor);
    sae = foldInputScale(sae, scale);
    if (threshold !== undefined && rescale) threshold /= scale;
  } else if (options.scalingFactor !== undefined) {
    throw new InputError("a scaling factor for an SAE that does not use one", { file: join(folder, CFG_FILE), field: "normalize_activations", got: normalization, wanted: "expected_average_only_in" });
  }
  if (rescale && (batch || normalization === "covariance_whitening")) sae = foldDecoderNorms(sae);
  if (normalization === "covariance_whitening") sae = foldWhitening(sae, await readWhitening(folder, cfg.config.dIn));
  else if (normalization !== "expected_average_only_in") sae = { ...sae, config: { ...sae.config, normalizeActivations: normalization } };
  if (threshold === undefined) return sae;
  const metadata = { training_architecture: cfg.architecture, ...sae.config.metadata };
  return { ...sae, config: { ...sae.config, architecture: "jumprelu", metadata }, threshold: new Float32Array(cfg.config.dSae).fill(threshold) };
}

async function inputScale(folder: string, given: number | undefined): Promise<number> {
  if (given !== undefined) return given;
  const file = join(folder, SCALER_FILE);
  if (!(await isThere(file))) {
    throw new InputError("the SAE expects scaled rows and the factor is not in its folder", {
      file: join(folder, CFG_FILE),
      field: "normalize_activations",
      got: "expected_average_only_in without a factor",
      wanted: `a scaling factor given when loading, or ${SCALER_FILE} beside it`,
    });
  }
  const { json } = await readJsonObject(file);
  return json.required("scaling_factor", json.number("scaling_factor"));
}

async function readWhitening(folder: string, dIn: number): Promise<Whitening> {
  const file = join(folder, WHITENING_FILE);
  if (!(await isThere(file))) {
    throw new InputError("the SAE expects whitened rows and the whitening is not in its folder", {
      file: join(folder, CFG_FILE),
      field: "normalize_activations",
      got: "covariance_whitening",
      wanted: `${WHITENING_FILE} beside it`,
    });
  }
  await using source = await openSafetensors(file);
  requireTensors(source, file, { mean: [dIn], matrix: [dIn, dIn], inverse_matrix: [dIn, dIn] }, {}, `d_in ${dIn} in ${CFG_FILE}`);
  return { mean: await source.readF32("mean"), matrix: await source.readF32("matrix"), inverseMatrix: await source.readF32("inverse_matrix") };
}

async function isThere(file: string): Promise<boolean> {
  return await stat(file).then((found) => found.isFile(), () => false);
}
