import { InputError } from "@mistral-sae/tensor";
import type { LoadedSae } from "./loaded.ts";
import { dtypeOfTensors } from "./stored-dtype.ts";
import { requireTensors } from "./tensors.ts";
import { matrixSize, requireOnlyTensors } from "./torch/requirements.ts";
import type { StateDict } from "./torch/state-dict.ts";
import { requireSound, type SaeWeights } from "./weights.ts";

/** Whether a state dict is the original mistral-sae trainer's. */
export function isOriginal(dict: StateDict): boolean {
  return dict.tensors.has("w_enc") && dict.tensors.has("b_pre");
}

/** Reads a checkpoint of the original trainer: always top-k with layer norm; k is not in the file and must be given. */
export async function readOriginal(dict: StateDict, k: number | undefined): Promise<LoadedSae> {
  requireOnlyTensors(dict);
  const [dIn, dSae] = matrixSize(dict, "w_enc");
  requireTensors(dict, dict.path, { w_enc: [dIn, dSae], w_dec: [dSae, dIn], b_enc: [dSae], b_pre: [dIn] }, { stats_last_nonzero: [dSae] }, `an encoder of ${dIn} × ${dSae}`);
  if (k === undefined || k > dSae) throw new InputError("the checkpoint does not say how many features fire a row", { file: dict.path, field: "k", got: k ?? "nothing", wanted: `k given when loading, 1 to ${dSae} (the published run used 128)` });
  const sae: SaeWeights = {
    config: {
      architecture: "topk",
      dIn,
      dSae,
      k,
      dtype: dtypeOfTensors(dict),
      applyBDecToInput: true,
      normalizeActivations: "layer_norm",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: {},
    },
    wEnc: await dict.readTransposed("w_enc"),
    bEnc: await dict.readF32("b_enc"),
    wDec: await dict.readF32("w_dec"),
    bDec: await dict.readF32("b_pre"),
  };
  requireSound(sae, dict.path);
  return { sae, source: { format: "mistral-sae", path: dict.path, files: [dict.path], cfgJson: "{}", warnings: ["no hook is known: the file names none"] } };
}
