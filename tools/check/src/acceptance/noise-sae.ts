import { join } from "node:path";
import { SaeService, ValidationPolicy } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { demoModelDir } from "@mistral-sae/demo-model";
import { createClient } from "@mistral-sae/rpc";
import { writeSae } from "@mistral-sae/sae";
import { ServiceProcess } from "./service-process.ts";

/** An SAE of random directions over the demo model: it finds nothing, but what it finds can be counted. */
export const NOISE_SAE = { name: "models/demo/saes/noise", dSae: 1024, k: 16 } as const;

const D_IN = 192;

/** Starts the inference service with the demo model and that SAE, whose files go into `folder`. */
export async function startWithNoiseSae(folder: string): Promise<ServiceProcess> {
  const { dSae, k } = NOISE_SAE;
  let state = 1;
  const wDec = Float32Array.from({ length: dSae * D_IN }, () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 31 - 1);
  for (let row = 0; row < dSae; row++) {
    const values = wDec.subarray(row * D_IN, (row + 1) * D_IN);
    const length = Math.hypot(...values);
    for (let i = 0; i < D_IN; i++) values[i] = (values[i] as number) / length;
  }
  const config = {
    architecture: "topk",
    dIn: D_IN,
    dSae,
    k,
    dtype: "float32",
    applyBDecToInput: true,
    normalizeActivations: "none",
    reshapeActivations: "none",
    rescaleActsByDecoderNorm: false,
    metadata: { hook_name: "blocks.2.hook_resid_pre", context_size: 128 },
  } as const;
  await writeSae(join(folder, "noise-sae"), { config, wEnc: wDec.slice(), bEnc: new Float32Array(dSae), wDec, bDec: new Float32Array(D_IN) });
  const inference = await ServiceProcess.start("inference", join(folder, "inference"), { MISTRAL_SAE_MODELS: `demo=${demoModelDir}` });
  const { operation } = await createClient(SaeService, inference.address).createSae({ parent: "models/demo", saeId: "noise", uri: join(folder, "noise-sae"), validate: ValidationPolicy.SKIP });
  await createClient(OperationService, inference.address).waitOperation({ name: operation?.name ?? "" });
  return inference;
}
