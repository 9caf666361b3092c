import { InputError } from "@mistral-sae/tensor";
import type { Architecture } from "./config.ts";
import type { NamedTensors, TensorTable } from "./tensors.ts";

/** dictionary_learning's classes that can be read. */
export const DICT_CLASSES = ["AutoEncoder", "AutoEncoderNew", "GatedAutoEncoder", "JumpReluAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"] as const;
export type DictClass = (typeof DICT_CLASSES)[number];

/** How a class computes, and how its state dict is laid out. */
export interface DictLayout {
  readonly architecture: Architecture;
  /** Whether the decoder's bias is subtracted from the input. */
  readonly subtractsBias: boolean;
  readonly encoder: string;
  /** Whether the encoder is [d_sae, d_in]. */
  readonly latentsFirst: boolean;
  readonly encoderBias: string | undefined;
  readonly decoder: string;
  /** Whether the decoder is [d_in, d_sae]. */
  readonly decoderTransposed: boolean;
  readonly decoderBias: string;
  readonly tensors: (dIn: number, dSae: number) => { readonly required: TensorTable; readonly optional: TensorTable };
}

/** torch's Linear layers, under the names of the bias that goes with them. */
function linear(architecture: Architecture, decoderBias: string, subtractsBias: boolean, encoderBias: string | undefined, more: (dSae: number) => TensorTable, optional: TensorTable = {}): DictLayout {
  return {
    architecture,
    subtractsBias,
    encoder: "encoder.weight",
    latentsFirst: true,
    encoderBias,
    decoder: "decoder.weight",
    decoderTransposed: true,
    decoderBias,
    tensors: (dIn, dSae) => ({
      required: { "encoder.weight": [dSae, dIn], "decoder.weight": [dIn, dSae], [decoderBias]: [dIn], ...(encoderBias === undefined ? {} : { [encoderBias]: [dSae] }), ...more(dSae) },
      optional,
    }),
  };
}

/** Plain matrices under SAELens' names. */
function plain(subtractsBias: boolean, more: (dSae: number) => TensorTable, optional: TensorTable = {}): DictLayout {
  return {
    architecture: "jumprelu",
    subtractsBias,
    encoder: "W_enc",
    latentsFirst: false,
    encoderBias: "b_enc",
    decoder: "W_dec",
    decoderTransposed: false,
    decoderBias: "b_dec",
    tensors: (dIn, dSae) => ({ required: { W_enc: [dIn, dSae], b_enc: [dSae], W_dec: [dSae, dIn], b_dec: [dIn], ...more(dSae) }, optional }),
  };
}

const LAYOUTS: Readonly<Record<Exclude<DictClass, "MatryoshkaBatchTopKSAE">, DictLayout>> = {
  AutoEncoder: linear("standard", "bias", true, "encoder.bias", () => ({})),
  AutoEncoderNew: linear("standard", "decoder.bias", false, "encoder.bias", () => ({})),
  GatedAutoEncoder: linear("gated", "decoder_bias", true, undefined, (dSae) => ({ r_mag: [dSae], gate_bias: [dSae], mag_bias: [dSae] })),
  JumpReluAutoEncoder: plain(false, (dSae) => ({ threshold: [dSae] })),
  AutoEncoderTopK: linear("topk", "b_dec", true, "encoder.bias", () => ({}), { k: [], threshold: [] }),
  BatchTopKSAE: linear("jumprelu", "b_dec", true, "encoder.bias", () => ({ threshold: [] }), { k: [] }),
};

export function layoutOf(dictClass: DictClass, groups = 0): DictLayout {
  if (dictClass !== "MatryoshkaBatchTopKSAE") return LAYOUTS[dictClass];
  return plain(true, () => ({ threshold: [], group_sizes: [groups] }), { k: [] });
}

/** Whether a state dict may be dictionary_learning's. */
export function isDictionary({ tensors }: NamedTensors): boolean {
  const has = (name: string): boolean => tensors.has(name);
  return (has("encoder.weight") && has("decoder.weight") && !has("pre_bias")) || (has("W_enc") && has("W_dec"));
}

/**
 * The class of a state dict that no config.json describes, by its keys. A top-k SAE and a batch top-k SAE have the same keys:
 * it is read as top-k, and `warnings` say so.
 */
export function inferClass(dict: NamedTensors & { readonly path: string }, warnings: string[]): DictClass {
  const has = (...names: string[]): boolean => names.every((name) => dict.tensors.has(name));
  if (has("group_sizes", "W_enc")) return "MatryoshkaBatchTopKSAE";
  if (has("W_enc", "threshold")) return "JumpReluAutoEncoder";
  if (has("decoder_bias", "r_mag")) return "GatedAutoEncoder";
  if (has("encoder.weight", "decoder.bias")) return "AutoEncoderNew";
  if (has("encoder.weight", "bias")) return "AutoEncoder";
  if (has("encoder.weight", "b_dec", "k")) {
    warnings.push("no config.json names the class: read as AutoEncoderTopK, the k largest of each row; give dict_class BatchTopKSAE if it is one");
    return "AutoEncoderTopK";
  }
  throw new InputError("the state dict is of no class known here", { file: dict.path, field: "dict_class", got: [...dict.tensors.keys()].slice(0, 12).join(", "), wanted: `the keys of ${DICT_CLASSES.join(", ")}` });
}
