import type { SaeWeights } from "../formats/weights.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import { savedRegions } from "./optimise.ts";
import { latentVector } from "./penalised-state.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/**
 * The trained SAE of a penalised architecture, copied. The factor s of expected_average_only_in is folded as SAELens does it,
 * W_enc *= s, W_dec /= s and b_dec /= s, so that raw rows are encoded to exactly what the trainer encodes scaled rows to: thresholds
 * and gate biases stay as they are. A transcoder's decoder takes the factor of its outputs, W_skip both. `config` is what the SAE says of itself.
 */
export function exportPenalised(memory: TrainerMemory, { optimizer }: ResolvedTrainerConfig, config: SaeWeights["config"]): SaeWeights {
  const { dOut, h } = memory.layout;
  const { inputScale, outputScale } = memory;
  const saved = savedRegions({ optimizer });
  const region = optimizer === "signum_schedule_free" ? "vLatent" : "latent";
  const bias = memory.readBias(saved.wEnc);
  const gated = config.architecture === "gated";
  return {
    config,
    wEnc: times(memory.readRows(saved.wEnc, 0, h), inputScale),
    bEnc: gated ? new Float32Array(h) : bias,
    wDec: times(memory.readRows(saved.wDec, 0, h), 1 / outputScale),
    bDec: times(memory.vector(saved.bDec).slice(0, dOut), 1 / outputScale),
    ...(config.skipConnection === true ? { wSkip: times(memory.readRows(saved.wSkip, 0, dOut), inputScale / outputScale) } : {}),
    ...(config.architecture === "jumprelu" ? { threshold: latentVector(memory, "threshold", region).slice() } : {}),
    ...(gated ? { gate: { bGate: bias, bMag: latentVector(memory, "b_mag", region).slice(), rMag: latentVector(memory, "r_mag", region).slice() } } : {}),
  };
}

/** Takes the weights of an SAE of the same architecture as the start of a training. */
export function adoptPenalised(memory: TrainerMemory, { wEnc, bEnc, wDec, bDec, wSkip, threshold, gate }: SaeWeights): void {
  const { inputScale, outputScale } = memory;
  memory.writeRows("wEnc", 0, times(wEnc, 1 / inputScale));
  memory.writeRows("wDec", 0, times(wDec, outputScale));
  memory.writeBias("wEnc", gate?.bGate ?? bEnc);
  memory.vector("bDec").set(times(bDec, outputScale));
  if (wSkip !== undefined) memory.writeRows("wSkip", 0, times(wSkip, outputScale / inputScale));
  if (threshold !== undefined) latentVector(memory, "threshold").set(threshold);
  if (gate === undefined) return;
  latentVector(memory, "b_mag").set(gate.bMag);
  latentVector(memory, "r_mag").set(gate.rMag);
}

function times(values: Float32Array, factor: number): Float32Array {
  return factor === 1 ? values : values.map((value) => value * factor);
}
