import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import type { Fields } from "../config/fields.ts";
import type { ModelConfig } from "../config/model-config.ts";
import { requireFields } from "../config/read-fields.ts";
import type { BlockFormat, QuantisedBits } from "./blocks.ts";

/** Arithmetic of the projections of a quantised model. */
export type QuantisedPrecision = "int8" | "int4";

/** Bits of a precision's weights. */
export const bitsOf: Readonly<Record<QuantisedPrecision, QuantisedBits>> = { int8: 8, int4: 4 };

/** Counts up with every change that makes files of before unreadable or worse than they could be. */
export const formatVersion = 1;

/** `quant_method` of our own folders. */
export const quantMethod = "mistral-sae";

/** The one file of weights of a quantised folder. */
export const weightsFile = "model.safetensors";

/** The file of a model folder that holds its configuration. */
export function configFile({ layout }: Pick<ModelConfig, "layout">): string {
  return layout === "consolidated" ? "params.json" : "config.json";
}

/** What the configuration's `quantization_config` says of a folder that we have written. */
export interface Quantisation extends BlockFormat {
  readonly precision: QuantisedPrecision;
  /** Modules stored at other bits than the rest. */
  readonly moduleBits: ReadonlyMap<string, QuantisedBits>;
  /** SHA-256, hex, of model.safetensors. */
  readonly weightsDigest: string;
  /** SHA-256, hex, over the weights that it was made of. */
  readonly sourceDigest: string;
}

/** `quantization_config` as it is written. */
export function quantisationJson(quantisation: Quantisation): Record<string, unknown> {
  return {
    quant_method: quantMethod,
    format_version: formatVersion,
    bits: quantisation.bits,
    block_size: quantisation.blockSize,
    module_bits: Object.fromEntries(quantisation.moduleBits),
    weights_digest: quantisation.weightsDigest,
    source_digest: quantisation.sourceDigest,
  };
}

/**
 * How the weights of a model folder are quantised; undefined for float weights. Throws InputError for the ways that
 * this program does not read (GPTQ, AWQ, bitsandbytes, …) and for versions of its own that it does not know.
 */
export async function readQuantisation(modelDir: string, config: Pick<ModelConfig, "layout">): Promise<Quantisation | undefined> {
  const fields = (await requireFields(join(modelDir, configFile(config)))).object("quantization_config");
  if (fields === undefined) return undefined;
  const method = fields.optionalString("quant_method") ?? "none";
  if (method !== quantMethod) throw fields.error("quant_method", "weights quantised in this way cannot be read; take the model's float weights, which `mistral-sae model quantize` and the precisions int8 and int4 quantise", method, quantMethod);
  const version = fields.integer("format_version", 1, 1 << 20);
  if (version !== formatVersion) throw fields.error("format_version", "the folder was quantised for another version of this program; quantise it again", version, formatVersion);
  const bits = checkedBits(fields, "bits", fields.integer("bits", 1, 64));
  const blockSize = fields.integer("block_size", 16, 1024);
  if ((blockSize & (blockSize - 1)) !== 0) throw fields.error("block_size", "not a power of two", blockSize, "16, 32, 64, …");
  const moduleBits = fields.object("module_bits");
  return {
    precision: bits === 8 ? "int8" : "int4",
    bits,
    blockSize,
    moduleBits: new Map((moduleBits?.names() ?? []).map((name) => [name, checkedBits(fields, `module_bits.${name}`, moduleBits?.integer(name, 1, 64) ?? 0)])),
    weightsDigest: digest(fields, "weights_digest"),
    sourceDigest: digest(fields, "source_digest"),
  };
}

function checkedBits(fields: Fields, name: string, value: number): QuantisedBits {
  if (value !== 4 && value !== 8) throw fields.error(name, "weights of this width cannot be read", value, "4 or 8");
  return value;
}

function digest(fields: Fields, name: string): string {
  const text = fields.optionalString(name);
  if (text === undefined || !/^[0-9a-f]{64}$/.test(text)) throw fields.error(name, "not a SHA-256", text ?? "nothing", "64 hex digits");
  return text;
}

/** The error for a precision that a quantised folder does not have. */
export function otherPrecision(modelDir: string, wanted: string, has: QuantisedPrecision): InputError {
  return new InputError(`the folder's weights are quantised to ${has} already; take the float weights for another precision`, { file: modelDir, field: "precision", got: wanted, wanted: has });
}
