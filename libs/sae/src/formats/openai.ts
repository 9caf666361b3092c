import { InputError } from "@mistral-sae/tensor";
import type { LoadedSae, SaeSource } from "./loaded.ts";
import { dtypeOfTensors } from "./stored-dtype.ts";
import { requireTensors } from "./tensors.ts";
import { matrixSize, requireOnlyTensors } from "./torch/requirements.ts";
import type { StateDict } from "./torch/state-dict.ts";
import { requireSound, type SaeWeights } from "./weights.ts";

/** Entries of newer torch versions that repeat `activation_state_dict`. */
const SETTINGS = ["activation", "activation_state_dict", "activation.k", "activation.postact_fn"];

/** Whether a state dict is openai/sparse_autoencoder's. */
export function isOpenAi(dict: StateDict): boolean {
  return dict.tensors.has("pre_bias") && dict.tensors.has("latent_bias");
}

/** Reads a state dict of openai/sparse_autoencoder. TopK implies its layer norm; nothing in the file says so. */
export async function readOpenAi(dict: StateDict): Promise<LoadedSae> {
  requireOnlyTensors(dict, SETTINGS);
  const [dSae, dIn] = matrixSize(dict, "encoder.weight");
  const counters = { stats_last_nonzero: [dSae], latents_activation_frequency: [dSae], latents_mean_square: [dSae], "activation.k": [] };
  // A tied decoder stores the encoder's matrix once more, under its own name.
  const tied = dict.tensors.has("decoder.linear.weight");
  const decoder = tied ? { "decoder.linear.weight": [dSae, dIn] } : { "decoder.weight": [dIn, dSae] };
  requireTensors(dict, dict.path, { "encoder.weight": [dSae, dIn], ...decoder, pre_bias: [dIn], latent_bias: [dSae] }, counters, `an encoder of ${dSae} × ${dIn}`);
  const k = readActivation(dict, dSae);
  const sae: SaeWeights = {
    config: {
      architecture: k === undefined ? "standard" : "topk",
      dIn,
      dSae,
      ...(k === undefined ? {} : { k }),
      dtype: dtypeOfTensors(dict),
      applyBDecToInput: true,
      normalizeActivations: k === undefined ? "none" : "layer_norm",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: {},
    },
    wEnc: await dict.readF32("encoder.weight"),
    bEnc: await dict.readF32("latent_bias"),
    wDec: tied ? await dict.readF32("decoder.linear.weight") : await dict.readTransposed("decoder.weight"),
    bDec: await dict.readF32("pre_bias"),
  };
  requireSound(sae, dict.path);
  const source: SaeSource = { format: "openai", path: dict.path, files: [dict.path], cfgJson: "{}", warnings: ["no hook is known: the file names none"] };
  return { sae, source };
}

/** k of a top-k SAE, undefined for a ReLU one. */
function readActivation(dict: StateDict, dSae: number): number | undefined {
  // Without a name OpenAI's loader takes ReLU.
  const activation = dict.values.get("activation") ?? "ReLU";
  if (activation === "ReLU") return undefined;
  const refuse = (field: string, got: unknown, wanted: string): InputError => new InputError("the activation function cannot be read", { file: dict.path, field, got: got ?? "nothing", wanted });
  if (activation !== "TopK") throw refuse("activation", activation, "TopK or ReLU");
  const state = dict.values.get("activation_state_dict");
  const k = state instanceof Map ? state.get("k") : undefined;
  const post = state instanceof Map ? state.get("postact_fn") : undefined;
  if (typeof k !== "number" || !Number.isInteger(k) || k < 1 || k > dSae) throw refuse("activation_state_dict.k", typeof k === "number" ? k : undefined, `1 to ${dSae}`);
  if (post !== undefined && post !== "ReLU") throw refuse("activation_state_dict.postact_fn", typeof post === "string" ? post : "another value", "ReLU");
  return k;
}
