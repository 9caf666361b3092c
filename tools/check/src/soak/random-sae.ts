import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSae } from "@mistral-sae/sae";
import { Random } from "./random.ts";

/** Width of the demo model's residual stream. */
export const D_MODEL = 192;
export const D_SAE = 512;
/** Where the SAE reads. */
export const SAE_HOOK = "blocks.2.hook_resid_pre";

/** Writes a TopK SAE with random directions to a folder of its own: enough to edit by, of no use to explain anything. */
export async function writeRandomSae(seed: number): Promise<string> {
  const random = new Random(seed);
  const wDec = new Float32Array(D_SAE * D_MODEL);
  for (let f = 0; f < D_SAE; f++) {
    const row = wDec.subarray(f * D_MODEL, (f + 1) * D_MODEL);
    let square = 0;
    for (let d = 0; d < D_MODEL; d++) square += (row[d] = random.normal()) ** 2;
    for (let d = 0; d < D_MODEL; d++) row[d] = (row[d] as number) / Math.sqrt(square);
  }
  const folder = await mkdtemp(join(tmpdir(), "soak-sae-"));
  await writeSae(folder, {
    config: {
      architecture: "topk",
      dIn: D_MODEL,
      dSae: D_SAE,
      k: 32,
      dtype: "float32",
      applyBDecToInput: true,
      normalizeActivations: "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: { hook_name: SAE_HOOK, context_size: 128 },
    },
    wEnc: wDec.slice(),
    bEnc: new Float32Array(D_SAE),
    wDec,
    bDec: new Float32Array(D_MODEL),
  });
  return folder;
}
