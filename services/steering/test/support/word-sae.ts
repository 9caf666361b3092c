import { join } from "node:path";
import { demoModelDir } from "@mistral-sae/demo-model";
import { writeSae } from "@mistral-sae/sae";
import { openSafetensors } from "@mistral-sae/tensor";

/** Words that the test SAE has a feature for, in the order of its features, and their ids in the demo vocabulary. */
export const words = ["king", "dog", "sea", "cake", "bird", "tree", "car", "sad"] as const;

/**
 * An SAE without training whose feature f has the direction that makes word f likeliest: its row of the head through
 * the final norm's weights, as a unit vector. It reads nothing sensible, and steers towards words that are known.
 */
export async function writeWordSae(folder: string, tokenIds: readonly number[]): Promise<void> {
  const weights = await openSafetensors(join(demoModelDir, "model.safetensors"));
  const norm = await weights.readF32("model.norm.weight");
  const width = norm.length;
  const wDec = new Float32Array(tokenIds.length * width);
  for (const [f, id] of tokenIds.entries()) {
    const head = await weights.readF32("lm_head.weight", { rows: { start: id, end: id + 1 } });
    let length = 0;
    for (let d = 0; d < width; d++) {
      const value = (head[d] ?? 0) * (norm[d] ?? 0);
      wDec[f * width + d] = value;
      length += value * value;
    }
    for (let d = 0; d < width; d++) wDec[f * width + d] = (wDec[f * width + d] ?? 0) / Math.sqrt(length);
  }
  await weights.close();
  await writeSae(folder, {
    config: {
      architecture: "topk",
      dIn: width,
      dSae: tokenIds.length,
      k: 4,
      dtype: "float32",
      applyBDecToInput: true,
      normalizeActivations: "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: { hook_name: "blocks.2.hook_resid_pre", context_size: 128 },
    },
    wEnc: wDec.slice(),
    bEnc: new Float32Array(tokenIds.length),
    wDec,
    bDec: new Float32Array(width),
  });
}
