import { rm } from "node:fs/promises";
import { join } from "node:path";
import { atomicWriteFile, InputError, writeSafetensors } from "@mistral-sae/tensor";
import type { SaeConfig } from "./config.ts";
import { foldDecoderNorms } from "./fold.ts";
import { SPARSIFY_CFG, SPARSIFY_WEIGHTS } from "./sparsify.ts";
import { streamedTensor, TENSOR_TYPE, type WrittenSae } from "./streamed.ts";
import { requireSound, type SaeWeights } from "./weights.ts";

/**
 * Writes a hookpoint's folder as EleutherAI's sparsify does: `sae.safetensors`, then `cfg.json`, each atomically. Where decoder norms
 * take part in the selection, they are folded first: activations and reconstructions stay. sparsify takes the hook from the folder's
 * name and keeps no other description; throws InputError for what its form cannot express.
 */
export async function writeSparsify(folder: string, sae: SaeWeights): Promise<WrittenSae> {
  requireSound(sae);
  requireExpressible(sae.config);
  const { config, wEnc, bEnc, wDec, bDec, wSkip } = sae.config.rescaleActsByDecoderNorm ? foldDecoderNorms(sae) : sae;
  const { dIn, dSae } = config;
  const dtype = TENSOR_TYPE[config.dtype];
  const cfgJson = JSON.stringify(cfgOfSparsify(config));
  // An old configuration beside new weights would describe a file that it does not belong to.
  await rm(join(folder, SPARSIFY_CFG), { force: true });
  const weightsSha256 = await writeSafetensors(join(folder, SPARSIFY_WEIGHTS), {
    W_dec: streamedTensor(wDec, [dSae, dIn], dtype),
    b_dec: streamedTensor(bDec, [dIn], dtype),
    "encoder.weight": streamedTensor(wEnc, [dSae, dIn], dtype),
    "encoder.bias": streamedTensor(bEnc, [dSae], dtype),
    ...(wSkip === undefined ? {} : { W_skip: streamedTensor(wSkip, [dIn, dIn], dtype) }),
  });
  await atomicWriteFile(join(folder, SPARSIFY_CFG), cfgJson);
  return { folder, weightsSha256, cfgJson };
}

/** sparsify's cfg.json. Whether the decoder was kept normalised is a matter of training only. */
function cfgOfSparsify({ architecture, dIn, dOut, dSae, k, skipConnection = false }: SaeConfig): Record<string, unknown> {
  return {
    activation: architecture,
    expansion_factor: Math.max(1, Math.round(dSae / dIn)),
    normalize_decoder: dOut === undefined,
    num_latents: dSae,
    k,
    multi_topk: false,
    skip_connection: skipConnection,
    transcode: dOut !== undefined,
    d_in: dIn,
  };
}

function requireExpressible({ architecture, dIn, dOut, applyBDecToInput, normalizeActivations, reshapeActivations }: SaeConfig): void {
  const pairs: readonly (readonly [string, unknown, boolean, string])[] = [
    ["architecture", architecture, architecture === "topk" || architecture === "groupmax", "topk or groupmax"],
    ["normalize_activations", normalizeActivations, normalizeActivations === "none", "none"],
    ["reshape_activations", reshapeActivations, reshapeActivations === "none", "none"],
    ["apply_b_dec_to_input", applyBDecToInput, applyBDecToInput === (dOut === undefined), "true, or a transcoder"],
    ["d_out", dOut, dOut === undefined || dOut === dIn, `d_in ${dIn}`],
  ];
  for (const [field, got, fits, wanted] of pairs) if (!fits) throw new InputError(`sparsify's form cannot express this ${field}`, { field, got, wanted });
}
