import { foldInputScale } from "../formats/fold.ts";
import type { SaeWeights } from "../formats/weights.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import { savedRegions } from "./optimise.ts";
import { latentVector } from "./penalised-state.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/**
 * The trained SAE of a penalised architecture, copied. The factor s of expected_average_only_in is folded as SAELens does it,
 * W_enc *= s, W_dec /= s and b_dec /= s, so that raw rows are encoded to exactly what the trainer encodes scaled rows to: thresholds
 * and gate biases stay as they are. `config` is what the SAE says of itself.
 */
export function exportPenalised(memory: TrainerMemory, { optimizer }: ResolvedTrainerConfig, config: SaeWeights["config"]): SaeWeights {
  const { d, h } = memory.layout;
  const saved = savedRegions({ optimizer });
  const region = optimizer === "signum_schedule_free" ? "vLatent" : "latent";
  const bias = memory.readBias(saved.wEnc);
  const gated = config.architecture === "gated";
  const sae: SaeWeights = {
    config,
    wEnc: memory.readRows(saved.wEnc, 0, h),
    bEnc: gated ? new Float32Array(h) : bias,
    wDec: memory.readRows(saved.wDec, 0, h),
    bDec: memory.vector(saved.bDec).slice(0, d),
    ...(config.architecture === "jumprelu" ? { threshold: latentVector(memory, "threshold", region).slice() } : {}),
    ...(gated ? { gate: { bGate: bias, bMag: latentVector(memory, "b_mag", region).slice(), rMag: latentVector(memory, "r_mag", region).slice() } } : {}),
  };
  return memory.inputScale === 1 ? sae : foldInputScale(sae, memory.inputScale);
}

/** Takes the weights of an SAE of the same architecture as the start of a training. */
export function adoptPenalised(memory: TrainerMemory, given: SaeWeights): void {
  const sae = memory.inputScale === 1 ? given : foldInputScale(given, 1 / memory.inputScale);
  memory.writeRows("wEnc", 0, sae.wEnc);
  memory.writeRows("wDec", 0, sae.wDec);
  memory.writeBias("wEnc", sae.gate?.bGate ?? sae.bEnc);
  memory.vector("bDec").set(sae.bDec);
  if (sae.threshold !== undefined) latentVector(memory, "threshold").set(sae.threshold);
  if (sae.gate === undefined) return;
  latentVector(memory, "b_mag").set(sae.gate.bMag);
  latentVector(memory, "r_mag").set(sae.gate.rMag);
}
