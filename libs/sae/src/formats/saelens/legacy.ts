import { InputError } from "@mistral-sae/tensor";
import { JsonObject } from "../json.ts";

const RENAMED: Readonly<Record<string, string>> = {
  hook_point: "hook_name",
  hook_point_head_index: "hook_head_index",
  activation_fn_str: "activation_fn",
};

/** Keys about the model and data, which SAELens 6 keeps in `metadata`. */
const METADATA_KEYS = [
  "sae_lens_version",
  "sae_lens_training_version",
  "model_name",
  "model_class_name",
  "hook_name",
  "hook_name_out",
  "hf_hook_name",
  "hf_hook_name_out",
  "hook_head_index",
  "hook_head_index_out",
  "model_from_pretrained_kwargs",
  "context_size",
  "seqpos_slice",
  "prepend_bos",
  "exclude_special_tokens",
  "dataset_path",
  "neuronpedia_id",
];

/** A flat cfg.json of SAELens below 6 in the form of SAELens 6, by the rules that SAELens itself applies. */
export function modernise(legacy: JsonObject): JsonObject {
  const flat: Record<string, unknown> = {
    prepend_bos: true,
    apply_b_dec_to_input: true,
    finetuning_scaling_factor: false,
    sae_lens_training_version: null,
    neuronpedia_id: null,
    architecture: "standard",
    activation_fn: "relu",
  };
  for (const [key, value] of Object.entries(legacy.values)) flat[RENAMED[key] ?? key] = value;
  flat["reshape_activations"] ??= typeof flat["hook_name"] === "string" && flat["hook_name"].includes("hook_z") ? "hook_z" : "none";
  chooseTopK(legacy, flat);
  const normalize = flat["normalize_activations"] ?? false;
  if (typeof normalize === "boolean") flat["normalize_activations"] = normalize ? "expected_average_only_in" : "none";
  const metadata: Record<string, unknown> = { ...legacy.object("metadata")?.values };
  for (const key of METADATA_KEYS) if (Object.hasOwn(flat, key)) metadata[key] = flat[key];
  return new JsonObject(legacy.file, { ...flat, metadata });
}

// The activation function decides, whatever the architecture says: published files call a top-k SAE "standard".
function chooseTopK(legacy: JsonObject, flat: Record<string, unknown>): void {
  const activation = flat["activation_fn"];
  const k = legacy.object("activation_fn_kwargs")?.count("k") ?? flat["k"];
  if (activation === "topk") {
    if (k === undefined) throw new InputError("a top-k SAE without k", { file: legacy.file, field: "activation_fn_kwargs.k", got: "nothing", wanted: "a whole number of at least 1" });
    flat["architecture"] = "topk";
    flat["k"] = k;
  } else if (activation !== "relu") {
    throw new InputError("unknown activation function", { file: legacy.file, field: "activation_fn", got: activation, wanted: "relu or topk" });
  } else if (flat["architecture"] === "topk" && k !== undefined) {
    flat["k"] = k;
  }
}
