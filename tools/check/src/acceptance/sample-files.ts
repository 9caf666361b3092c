import { cp } from "node:fs/promises";
import { join } from "node:path";
import { demoModelDir } from "@mistral-sae/demo-model";
import { writeSae } from "@mistral-sae/sae";
import { tensorOf, writeSafetensors } from "@mistral-sae/tensor";

/** Width of the demo model's residual stream. */
export const D_IN = 192;
export const D_SAE = 64;
export const HOOK = "blocks.2.hook_resid_pre";

/** Numbers in [-1, 1) that are the same at every call. */
function noise(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A sound SAELens folder: a TopK SAE of the demo model's width with random weights. */
export async function writeSampleSae(folder: string): Promise<void> {
  await writeSae(folder, {
    config: {
      architecture: "topk",
      dIn: D_IN,
      dSae: D_SAE,
      k: 4,
      dtype: "float32",
      applyBDecToInput: true,
      normalizeActivations: "none",
      reshapeActivations: "none",
      rescaleActsByDecoderNorm: false,
      metadata: { hook_name: HOOK, model_name: "demo" },
    },
    wEnc: noise(D_SAE * D_IN, 1),
    bEnc: noise(D_SAE, 2),
    wDec: noise(D_SAE * D_IN, 3),
    bDec: noise(D_IN, 4),
  });
}

/** A file with the tensor `x` [n, 192]. */
export async function writeSampleRows(file: string, rows = 512): Promise<void> {
  await writeSafetensors(file, { x: tensorOf(noise(rows * D_IN, 5), [rows, D_IN]) });
}

/** A copy of the demo model that may be spoilt. */
export async function copyDemoModel(folder: string): Promise<void> {
  await cp(demoModelDir, folder, { recursive: true, filter: (path) => path === demoModelDir || !path.endsWith(".md") });
}

/** The weights of a sample, by the kind of sample. */
export const WEIGHTS = { sae: "sae_weights.safetensors", model: "model.safetensors" } as const;

/** Path of a file in a sample's folder. */
export function weightsOf(folder: string, kind: keyof typeof WEIGHTS): string {
  return join(folder, WEIGHTS[kind]);
}
