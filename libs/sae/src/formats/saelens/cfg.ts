import { InputError } from "@mistral-sae/tensor";
import { type Architecture, type MatchingPursuit, NORMALIZATIONS, type SaeConfig, type WeightDType } from "../config.ts";
import { JsonObject } from "../json.ts";
import { modernise } from "./legacy.ts";

interface Kind {
  readonly architecture: Architecture;
  /** A training checkpoint whose one threshold stands for the selection over a batch. */
  readonly batch?: boolean;
  readonly transcoder?: boolean;
  readonly skip?: boolean;
}

/** SAELens' names for what a folder may hold; the batch kinds only occur in training checkpoints. */
const KINDS = {
  standard: { architecture: "standard" },
  topk: { architecture: "topk" },
  abstopk: { architecture: "abstopk" },
  jumprelu: { architecture: "jumprelu" },
  gated: { architecture: "gated" },
  matching_pursuit: { architecture: "matching_pursuit" },
  batchtopk: { architecture: "jumprelu", batch: true },
  matryoshka_batchtopk: { architecture: "jumprelu", batch: true },
  transcoder: { architecture: "standard", transcoder: true },
  skip_transcoder: { architecture: "standard", transcoder: true, skip: true },
  jumprelu_transcoder: { architecture: "jumprelu", transcoder: true },
  jumprelu_skip_transcoder: { architecture: "jumprelu", transcoder: true, skip: true },
} as const satisfies Readonly<Record<string, Kind>>;
export type StoredArchitecture = keyof typeof KINDS;
export const STORED_ARCHITECTURES = Object.keys(KINDS) as readonly StoredArchitecture[];

export const STORED_NORMALIZATIONS = [...NORMALIZATIONS, "expected_average_only_in", "covariance_whitening"] as const;
export type StoredNormalization = (typeof STORED_NORMALIZATIONS)[number];

/** A SAELens cfg.json as read. `config` lacks what the weights decide: normalisations still to fold, batchtopk's threshold. */
export interface SaelensCfg {
  readonly config: SaeConfig;
  readonly architecture: StoredArchitecture;
  readonly batch: boolean;
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
  const stored = readArchitecture(cfg);
  const { architecture, batch = false, transcoder = false, skip = false }: Kind = KINDS[stored];
  const dSae = cfg.required("d_sae", cfg.count("d_sae"));
  const byK = architecture === "topk" || architecture === "abstopk";
  const normalization = cfg.choice("normalize_activations", STORED_NORMALIZATIONS) ?? "none";
  const config: SaeConfig = {
    architecture,
    dIn: cfg.required("d_in", cfg.count("d_in")),
    ...(transcoder ? { dOut: cfg.required("d_out", cfg.count("d_out")) } : {}),
    ...(skip ? { skipConnection: true } : {}),
    dSae,
    ...(architecture === "matching_pursuit" ? { matchingPursuit: readPursuit(cfg) } : {}),
    ...(byK ? { k: readK(cfg, dSae) } : {}),
    dtype: readDType(cfg),
    applyBDecToInput: transcoder ? noInputBias(cfg) : (cfg.boolean("apply_b_dec_to_input") ?? true),
    normalizeActivations: NORMALIZATIONS.find((name) => name === normalization) ?? "none",
    reshapeActivations: cfg.choice("reshape_activations", ["none", "hook_z"] as const) ?? "none",
    // SAELens' training form of the top-k family scales by default, its inference form does not.
    rescaleActsByDecoderNorm: (byK || batch) && (cfg.boolean("rescale_acts_by_decoder_norm") ?? batch),
    metadata: cfg.object("metadata")?.values ?? {},
  };
  return { config, architecture: stored, batch, normalization, finetuningScalingFactor: cfg.boolean("finetuning_scaling_factor") ?? false, legacy };
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
  if (name === "temporal") throw cfg.refuse("architecture", `one of ${STORED_ARCHITECTURES.join(", ")}`, "temporal SAEs cannot be loaded: their codes depend on the rows before");
  return cfg.required("architecture", cfg.choice("architecture", STORED_ARCHITECTURES));
}

function readK(cfg: JsonObject, dSae: number): number {
  const k = cfg.required("k", cfg.count("k"));
  if (k > dSae) throw cfg.refuse("k", `1 to ${dSae} (d_sae)`);
  return k;
}

/** The b_dec of a transcoder has the width of its output. */
function noInputBias(cfg: JsonObject): false {
  if (cfg.boolean("apply_b_dec_to_input") === true) throw cfg.refuse("apply_b_dec_to_input", "false: the b_dec of a transcoder belongs to its output");
  return false;
}

function readPursuit(cfg: JsonObject): MatchingPursuit {
  const residualThreshold = cfg.number("residual_threshold") ?? 0.01;
  if (residualThreshold < 0) throw cfg.refuse("residual_threshold", "0 or more");
  const maxIterations = cfg.count("max_iterations");
  return { residualThreshold, stopOnDuplicateSupport: cfg.boolean("stop_on_duplicate_support") ?? true, ...(maxIterations === undefined ? {} : { maxIterations }) };
}

function readDType(cfg: JsonObject): WeightDType {
  const name = cfg.string("dtype") ?? "float32";
  const dtype = DTYPES[name.replace(/^torch\./, "")];
  if (dtype === undefined) throw cfg.refuse("dtype", Object.keys(DTYPES).join(", "));
  return dtype;
}
