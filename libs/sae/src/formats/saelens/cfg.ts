import { InputError } from "@mistral-sae/tensor";
import { NORMALIZATIONS, type SaeConfig, type WeightDType } from "../config.ts";
import { JsonObject } from "../json.ts";
import { modernise } from "./legacy.ts";

/** SAELens' names for what a folder may hold; the batch kinds only occur in training checkpoints. */
export const STORED_ARCHITECTURES = ["standard", "topk", "abstopk", "jumprelu", "gated", "batchtopk", "matryoshka_batchtopk"] as const;
export type StoredArchitecture = (typeof STORED_ARCHITECTURES)[number];

/** Names that SAELens knows and that are no plain autoencoder over one hook. */
const OTHER_ARCHITECTURES = ["matching_pursuit", "temporal", "transcoder", "jumprelu_transcoder", "skip_transcoder", "jumprelu_skip_transcoder"];

export const STORED_NORMALIZATIONS = [...NORMALIZATIONS, "expected_average_only_in", "covariance_whitening"] as const;
export type StoredNormalization = (typeof STORED_NORMALIZATIONS)[number];

/** A SAELens cfg.json as read. `config` lacks what the weights decide: normalisations still to fold, batchtopk's threshold. */
export interface SaelensCfg {
  readonly config: SaeConfig;
  readonly architecture: StoredArchitecture;
  readonly normalization: StoredNormalization;
  /** Legacy files: whether a `scaling_factor` tensor scales the decoder's rows. */
  readonly finetuningScalingFactor: boolean;
  /** Written before SAELens 6. */
  readonly legacy: boolean;
}

const DTYPES: Readonly<Record<string, WeightDType>> = { float32: "float32", float64: "float32", float16: "float16", bfloat16: "bfloat16" };

/** Interprets a cfg.json, current or legacy. Throws InputError naming the key, what it holds and what is wanted. */
export function readCfg(file: JsonObject): SaelensCfg {
  const legacy = isLegacy(file);
  const cfg = legacy ? modernise(file) : file;
  const architecture = readArchitecture(cfg);
  const dSae = cfg.required("d_sae", cfg.count("d_sae"));
  const byK = architecture === "topk" || architecture === "abstopk";
  const batch = architecture === "batchtopk" || architecture === "matryoshka_batchtopk";
  const normalization = cfg.choice("normalize_activations", STORED_NORMALIZATIONS) ?? "none";
  const config: SaeConfig = {
    architecture: batch ? "jumprelu" : architecture,
    dIn: cfg.required("d_in", cfg.count("d_in")),
    dSae,
    ...(byK ? { k: readK(cfg, dSae) } : {}),
    dtype: readDType(cfg),
    applyBDecToInput: cfg.boolean("apply_b_dec_to_input") ?? true,
    normalizeActivations: NORMALIZATIONS.find((name) => name === normalization) ?? "none",
    reshapeActivations: cfg.choice("reshape_activations", ["none", "hook_z"] as const) ?? "none",
    // SAELens' training form of the top-k family scales by default, its inference form does not.
    rescaleActsByDecoderNorm: (byK || batch) && (cfg.boolean("rescale_acts_by_decoder_norm") ?? batch),
    metadata: cfg.object("metadata")?.values ?? {},
  };
  return { config, architecture, normalization, finetuningScalingFactor: cfg.boolean("finetuning_scaling_factor") ?? false, legacy };
}

/** SAELens 6 stamps its version on every file; older files carry none, or a lower one. */
function isLegacy(cfg: JsonObject): boolean {
  const version = cfg.string("sae_lens_version") ?? cfg.object("metadata")?.string("sae_lens_version");
  if (version === undefined || version === "") return true;
  const major = Number.parseInt(version, 10);
  if (Number.isNaN(major)) throw new InputError("the SAELens version cannot be read", { file: cfg.file, field: "sae_lens_version", got: version, wanted: "a version such as 6.0.0" });
  return major < 6;
}

function readArchitecture(cfg: JsonObject): StoredArchitecture {
  const name = cfg.required("architecture", cfg.string("architecture"));
  if (OTHER_ARCHITECTURES.includes(name)) throw cfg.refuse("architecture", `one of ${STORED_ARCHITECTURES.join(", ")}`, `SAEs of the architecture "${name}" cannot be loaded`);
  return cfg.required("architecture", cfg.choice("architecture", STORED_ARCHITECTURES));
}

function readK(cfg: JsonObject, dSae: number): number {
  const k = cfg.required("k", cfg.count("k"));
  if (k > dSae) throw cfg.refuse("k", `1 to ${dSae} (d_sae)`);
  return k;
}

function readDType(cfg: JsonObject): WeightDType {
  const name = cfg.string("dtype") ?? "float32";
  const dtype = DTYPES[name.replace(/^torch\./, "")];
  if (dtype === undefined) throw cfg.refuse("dtype", Object.keys(DTYPES).join(", "));
  return dtype;
}
